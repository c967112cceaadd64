-- How the operator writes forwards: as mailboxes, see 0010.

-- Addresses that forwards no longer have. What a mailbox has besides stays, and is as old as the mailbox again.
CREATE FUNCTION posthorn.detach(detached text[]) RETURNS void
    LANGUAGE sql VOLATILE AS $$
    DELETE FROM posthorn.addresses a WHERE a.address = ANY (detached) AND a.kind = 'forward';
    UPDATE posthorn.addresses a
    SET forward = NULL, claimed_at = coalesce(m.claimed_at, a.claimed_at), claimant = m.object_uid
    FROM posthorn.mailboxes m
    WHERE a.address = ANY (detached) AND a.forward IS NOT NULL AND m.uuid = a.mailbox
$$;

-- A declared forward. ord: its place in the batch.
CREATE TYPE posthorn.forward_row AS (
    ord              integer,
    uid              text COLLATE "C",
    address          text COLLATE "C",
    targets          text[] COLLATE "C",
    couriers         jsonb,
    keep_copy        text,
    send_as          text,
    require          jsonb,
    object_namespace text,
    object_name      text,
    claimed_at       timestamptz
);

-- Why a forward cannot have its address; NULL if it can.
CREATE FUNCTION posthorn.forward_refusal(r posthorn.forward_row) RETURNS text
    LANGUAGE plpgsql STABLE AS $$
DECLARE
    a posthorn.addresses;
    f posthorn.forwards;
BEGIN
    SELECT * INTO a FROM posthorn.addresses WHERE address = r.address;
    SELECT * INTO f FROM posthorn.forwards WHERE uid = a.forward AND uid <> r.uid;
    IF NOT EXISTS (SELECT FROM posthorn.domains WHERE domain = split_part(r.address, '@', -1)) THEN
        RETURN 'UnknownDomain';
    ELSIF a.address IS NULL OR a.forward = r.uid OR (r.claimed_at, r.uid) < (a.claimed_at, a.claimant) THEN
        RETURN NULL;
    ELSIF posthorn.may_attach(a, r) AND (f.uid IS NULL OR (r.claimed_at, r.uid) < (f.claimed_at, f.uid)) THEN
        RETURN NULL;
    END IF;
    RETURN 'AddressConflict';
END
$$;

-- Is this the address of the mailbox that the forward's copy is for?
CREATE FUNCTION posthorn.may_attach(a posthorn.addresses, r posthorn.forward_row) RETURNS boolean
    LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM posthorn.mailboxes m WHERE m.uuid = (a).mailbox
                   AND m.object_namespace = (r).object_namespace AND m.object_name = (r).keep_copy)
$$;

-- Writes a forward that may have its address; true if anything was to do.
CREATE FUNCTION posthorn.write_forward(r posthorn.forward_row) RETURNS boolean
    LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    changed boolean;
    a       posthorn.addresses;
BEGIN
    INSERT INTO posthorn.forwards AS f (uid, address, targets, couriers, keep_copy, send_as, require,
        object_namespace, object_name, claimed_at)
    SELECT r.uid, r.address, r.targets, r.couriers, r.keep_copy, r.send_as, r.require,
        r.object_namespace, r.object_name, r.claimed_at
    WHERE NOT EXISTS (
        SELECT FROM posthorn.forwards o WHERE (o.uid, o.address, o.targets, o.couriers, o.keep_copy, o.send_as,
            o.require, o.object_namespace, o.object_name, o.claimed_at) IS NOT DISTINCT FROM
            (r.uid, r.address, r.targets, r.couriers, r.keep_copy, r.send_as, r.require, r.object_namespace,
            r.object_name, r.claimed_at) AND o.uid = r.uid)
    ON CONFLICT (uid) DO UPDATE SET
        address = excluded.address, targets = excluded.targets, couriers = excluded.couriers,
        keep_copy = excluded.keep_copy, send_as = excluded.send_as, require = excluded.require,
        object_namespace = excluded.object_namespace, object_name = excluded.object_name,
        claimed_at = excluded.claimed_at;
    changed := FOUND;

    SELECT * INTO a FROM posthorn.addresses WHERE address = r.address;
    IF posthorn.may_attach(a, r) THEN
        UPDATE posthorn.addresses SET forward = r.uid,
            claimed_at = CASE WHEN (r.claimed_at, r.uid) < (a.claimed_at, a.claimant) THEN r.claimed_at ELSE a.claimed_at END,
            claimant = CASE WHEN (r.claimed_at, r.uid) < (a.claimed_at, a.claimant) THEN r.uid ELSE a.claimant END
        WHERE address = r.address AND mailbox = a.mailbox
          AND (forward IS DISTINCT FROM r.uid OR (r.claimed_at, r.uid) < (claimed_at, claimant));
        RETURN changed OR FOUND;
    END IF;
    INSERT INTO posthorn.addresses AS o (address, domain, kind, forward, claimed_at, claimant)
    SELECT r.address, split_part(r.address, '@', -1), 'forward', r.uid, r.claimed_at, r.uid
    WHERE a.forward IS DISTINCT FROM r.uid OR (a.claimed_at, a.claimant) IS DISTINCT FROM (r.claimed_at, r.uid)
    ON CONFLICT (address) DO UPDATE SET
        kind = excluded.kind, mailbox = NULL, forward = excluded.forward,
        claimed_at = excluded.claimed_at, claimant = excluded.claimant
    WHERE o.forward = excluded.forward OR (excluded.claimed_at, excluded.claimant) < (o.claimed_at, o.claimant);
    changed := changed OR FOUND;
    IF a.kind = 'mailbox' THEN
        PERFORM posthorn.release_unreachable(ARRAY[a.mailbox]);
    END IF;
    RETURN changed;
END
$$;

-- A batch of declared forwards in, what became of each out. One that is refused is removed: its address is another's.
CREATE FUNCTION posthorn.project_forwards(batch jsonb)
    RETURNS TABLE (ord integer, result text, reason text, conflict jsonb)
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    declared posthorn.forward_row[];
    r        posthorn.forward_row;
    changed  boolean;
    reason_  text;
BEGIN
    SELECT array_agg(d) INTO declared FROM jsonb_populate_recordset(NULL::posthorn.forward_row, batch) d;

    -- First, addresses that they have and declare no longer: another of the batch may want them.
    PERFORM posthorn.detach(ARRAY(
        SELECT a.address FROM unnest(declared) d JOIN posthorn.addresses a ON a.forward = d.uid
        WHERE a.address <> d.address OR (a.mailbox IS NOT NULL AND NOT posthorn.may_attach(a, d))));

    -- By address, so that two batches at a time wait for each other and don't get stuck; the elder first.
    FOR r IN SELECT d.* FROM unnest(declared) d ORDER BY d.address, d.claimed_at, d.uid LOOP
        changed := false;
        reason_ := posthorn.forward_refusal(r);
        IF reason_ IS NULL THEN
            changed := posthorn.write_forward(r);
            -- Somebody may have been faster.
            reason_ := CASE WHEN NOT EXISTS (SELECT FROM posthorn.addresses WHERE address = r.address AND forward = r.uid)
                            THEN 'AddressConflict' END;
        END IF;
        IF reason_ IS NOT NULL THEN
            PERFORM posthorn.remove_forwards(ARRAY[r.uid]);
        END IF;
        RETURN QUERY SELECT r.ord,
            CASE WHEN reason_ IS NOT NULL THEN 'refused' WHEN changed THEN 'written' ELSE 'unchanged' END,
            reason_,
            (SELECT jsonb_build_object('address', a.address, 'kind', a.kind, 'owner', posthorn.owner(a))
             FROM posthorn.addresses a WHERE a.address = r.address AND reason_ = 'AddressConflict');
    END LOOP;
END
$$;

-- The rules are gone; returns those that were there.
CREATE FUNCTION posthorn.remove_forwards(removed text[]) RETURNS SETOF text
    LANGUAGE sql VOLATILE AS $$
    SELECT posthorn.detach(ARRAY(SELECT a.address FROM posthorn.addresses a WHERE a.forward = ANY (removed)));
    DELETE FROM posthorn.forwards f WHERE f.uid = ANY (removed) RETURNING f.uid
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA posthorn FROM PUBLIC;
REVOKE ALL ON TYPE posthorn.forward_row FROM PUBLIC;
