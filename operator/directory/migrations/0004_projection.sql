-- How the operator writes mailboxes: a batch of declared mailboxes in, what became of each out. Batches are
-- idempotent, and a batch that changes nothing writes nothing (no row lock, no transaction id, no WAL).
--
-- Who has an address that several declare is decided here again, though the operator has decided it before: the
-- elder claim has it, whichever is projected first. So a takeover needs no order among batches, and it moves the
-- address in one statement: at no time has it no owner, or two.

-- A declared mailbox. ord: its place in the batch.
CREATE TYPE posthorn.mailbox_row AS (
    ord              integer,
    uuid             uuid,
    address          text COLLATE "C",
    aliases          text[] COLLATE "C",
    shard            text COLLATE "C",
    quota_bytes      bigint,
    deletion_policy  text,
    object_uid       text COLLATE "C",
    object_namespace text,
    object_name      text,
    claimed_at       timestamptz,
    adopt            boolean,
    set_password     boolean,  -- false: whatever password there is stays
    password         text,
    password_source  text
);

CREATE TYPE posthorn.claim AS (
    ord        integer,
    mailbox    uuid,
    address    text COLLATE "C",
    domain     text COLLATE "C",
    kind       text,
    claimed_at timestamptz,
    claimant   text COLLATE "C"
);

-- The addresses that rows claim; an alias that repeats the main address or another alias counts once.
CREATE FUNCTION posthorn.claims(batch posthorn.mailbox_row[]) RETURNS SETOF posthorn.claim
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT r.ord, r.uuid, c.address, substring(c.address FROM '[^@]+$'), c.kind, r.claimed_at, r.object_uid
    FROM unnest(batch) r
    CROSS JOIN LATERAL (
        SELECT r.address, 'mailbox'
        UNION ALL
        SELECT DISTINCT alias, 'alias' FROM unnest(r.aliases) alias WHERE alias <> r.address
    ) AS c (address, kind)
$$;

-- Why a mailbox cannot be written at all; NULL if it can.
CREATE FUNCTION posthorn.refusal(r posthorn.mailbox_row) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    m posthorn.mailboxes;
    a posthorn.addresses;
BEGIN
    SELECT * INTO m FROM posthorn.mailboxes WHERE uuid = r.uuid;
    IF m.uuid IS NULL AND r.adopt THEN
        RETURN 'NotAdoptable';
    ELSIF m.object_uid <> r.object_uid AND (m.deleted_at IS NULL OR NOT r.adopt) THEN
        RETURN 'UuidInUse';
    ELSIF m.object_uid <> r.object_uid AND m.object_namespace <> r.object_namespace THEN
        RETURN 'NotAdoptable';
    ELSIF m.purge_after <= now() THEN
        RETURN 'NotAdoptable';
    ELSIF m.uuid IS NULL AND NOT EXISTS (SELECT FROM posthorn.shards WHERE name = r.shard) THEN
        RETURN 'UnknownShard';
    ELSIF NOT EXISTS (SELECT FROM posthorn.domains WHERE domain = substring(r.address FROM '[^@]+$')) THEN
        RETURN 'UnknownDomain';
    END IF;
    SELECT * INTO a FROM posthorn.addresses WHERE address = r.address;
    IF a.mailbox IS DISTINCT FROM r.uuid AND (a.claimed_at, a.claimant) <= (r.claimed_at, r.object_uid) THEN
        RETURN 'AddressConflict';
    END IF;
    RETURN NULL;
END
$$;

-- Rows that have nothing to do with each other. Custom plans: then the planner knows how long the arrays are, and
-- takes indexes for a row and hash joins for a thousand.
CREATE FUNCTION posthorn.apply_mailboxes(batch posthorn.mailbox_row[])
    RETURNS TABLE (ord integer, result text, reason text, shard text, conflicts jsonb)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
DECLARE
    accepted posthorn.mailbox_row[];
    claimed  posthorn.claim[];
    wanted   posthorn.claim[];
    touched  uuid[] := '{}';
    more     uuid[];
    deprived uuid[];
BEGIN
    SELECT array_agg(r) INTO accepted FROM unnest(batch) r WHERE posthorn.refusal(r) IS NULL;

    SELECT array_agg(c) INTO claimed FROM posthorn.claims(batch) c;

    SELECT array_agg(c) INTO wanted
    FROM unnest(claimed) c
    JOIN unnest(accepted) r ON r.ord = c.ord
    JOIN posthorn.domains d ON d.domain = c.domain
    LEFT JOIN posthorn.addresses a ON a.address = c.address
    WHERE a.address IS NULL OR a.mailbox = c.mailbox OR (c.claimed_at, c.claimant) < (a.claimed_at, a.claimant);

    -- The shard is given at birth: where the data is does not change by declaring something else.
    WITH written AS (
        INSERT INTO posthorn.mailboxes AS m (uuid, address, shard, quota_bytes, deletion_policy, password,
            password_source, object_uid, object_namespace, object_name)
        SELECT r.uuid, r.address, coalesce(o.shard, r.shard), r.quota_bytes, r.deletion_policy,
            CASE WHEN keep.password THEN o.password ELSE r.password END,
            CASE WHEN keep.password THEN o.password_source ELSE r.password_source END,
            r.object_uid, r.object_namespace, r.object_name
        FROM unnest(accepted) r
        LEFT JOIN posthorn.mailboxes o ON o.uuid = r.uuid
        CROSS JOIN LATERAL (SELECT o.object_uid = r.object_uid
            AND (NOT r.set_password OR o.password_source IS NOT DISTINCT FROM r.password_source) AS password) AS keep
        WHERE o.uuid IS NULL OR o.deleted_at IS NOT NULL OR NOT keep.password
           OR (o.address, o.quota_bytes, o.deletion_policy, o.object_uid, o.object_namespace, o.object_name)
              IS DISTINCT FROM
              (r.address, r.quota_bytes, r.deletion_policy, r.object_uid, r.object_namespace, r.object_name)
        ORDER BY r.uuid
        ON CONFLICT (uuid) DO UPDATE SET
            address = excluded.address, quota_bytes = excluded.quota_bytes,
            deletion_policy = excluded.deletion_policy, password = excluded.password,
            password_source = excluded.password_source, object_uid = excluded.object_uid,
            object_namespace = excluded.object_namespace, object_name = excluded.object_name,
            deleted_at = NULL, purge_after = NULL
        WHERE (m.object_uid = excluded.object_uid OR m.deleted_at IS NOT NULL)
          AND (m.purge_after IS NULL OR m.purge_after > now())
        RETURNING m.uuid
    )
    SELECT coalesce(array_agg(uuid), '{}') INTO more FROM written;
    touched := touched || more;

    -- Only what is now really theirs: somebody may have adopted the same mailbox at the same moment.
    SELECT array_agg(r) INTO accepted
    FROM unnest(accepted) r
    JOIN posthorn.mailboxes m ON m.uuid = r.uuid AND m.object_uid = r.object_uid AND m.deleted_at IS NULL;
    SELECT array_agg(c) INTO wanted FROM unnest(wanted) c JOIN unnest(accepted) r ON r.ord = c.ord;

    -- Also an address that stays but changes its kind: a mailbox has one main address at every moment.
    WITH released AS (
        DELETE FROM posthorn.addresses a USING unnest(accepted) r
        WHERE a.mailbox = r.uuid
          AND NOT EXISTS (SELECT FROM unnest(wanted) c
                          WHERE c.mailbox = a.mailbox AND c.address = a.address AND c.kind = a.kind)
        RETURNING a.mailbox
    )
    SELECT coalesce(array_agg(mailbox), '{}') INTO more FROM released;
    touched := touched || more;

    SELECT array_agg(o.mailbox) INTO deprived
    FROM unnest(wanted) c
    JOIN posthorn.addresses o ON o.address = c.address AND o.kind = 'mailbox' AND o.mailbox <> c.mailbox;

    WITH taken AS (
        INSERT INTO posthorn.addresses AS a (address, domain, kind, mailbox, claimed_at, claimant)
        SELECT c.address, c.domain, c.kind, c.mailbox, c.claimed_at, c.claimant
        FROM unnest(wanted) c
        LEFT JOIN posthorn.addresses o ON o.address = c.address
        WHERE o.address IS NULL
           OR (o.kind, o.mailbox, o.claimed_at, o.claimant) IS DISTINCT FROM (c.kind, c.mailbox, c.claimed_at, c.claimant)
        ORDER BY c.address
        ON CONFLICT (address) DO UPDATE SET
            kind = excluded.kind, mailbox = excluded.mailbox,
            claimed_at = excluded.claimed_at, claimant = excluded.claimant
        WHERE a.mailbox = excluded.mailbox
           OR (excluded.claimed_at, excluded.claimant) < (a.claimed_at, a.claimant)
        RETURNING a.mailbox
    )
    SELECT coalesce(array_agg(mailbox), '{}') INTO more FROM taken;
    touched := touched || more;

    -- A mailbox that has lost its main address cannot be reached by its aliases: others may have them.
    IF deprived IS NOT NULL THEN
        DELETE FROM posthorn.addresses a
        WHERE a.mailbox = ANY (deprived)
          AND NOT EXISTS (SELECT FROM posthorn.addresses p WHERE p.mailbox = a.mailbox AND p.kind = 'mailbox');
    END IF;

    -- What each row has now, by looking.
    RETURN QUERY
    WITH outcome AS (
        SELECT r.ord, r.uuid, m.shard,
            CASE WHEN m.uuid IS NULL OR p.address IS NULL
                 THEN coalesce(posthorn.refusal(r), 'AddressConflict') END AS reason
        FROM unnest(batch) r
        LEFT JOIN posthorn.mailboxes m ON m.uuid = r.uuid AND m.object_uid = r.object_uid AND m.deleted_at IS NULL
        LEFT JOIN posthorn.addresses p ON p.address = r.address AND p.mailbox = r.uuid AND p.kind = 'mailbox'
    ), lost AS (
        SELECT c.ord, jsonb_agg(jsonb_build_object(
            'address', c.address, 'kind', a.kind,
            'owner', CASE WHEN o.uuid IS NOT NULL THEN jsonb_build_object(
                'uid', o.object_uid, 'namespace', o.object_namespace, 'name', o.object_name) END
        ) ORDER BY c.address) AS conflicts
        FROM unnest(claimed) c
        LEFT JOIN posthorn.addresses a ON a.address = c.address
        LEFT JOIN posthorn.mailboxes o ON o.uuid = a.mailbox
        LEFT JOIN posthorn.domains d ON d.domain = c.domain
        WHERE a.mailbox IS DISTINCT FROM c.mailbox AND (a.address IS NOT NULL OR d.domain IS NULL)
        GROUP BY c.ord
    )
    SELECT outcome.ord,
        CASE WHEN outcome.reason IS NOT NULL THEN 'refused'
             WHEN outcome.uuid = ANY (touched) THEN 'written' ELSE 'unchanged' END,
        outcome.reason,
        CASE WHEN outcome.reason IS NULL THEN outcome.shard END,
        coalesce(lost.conflicts, '[]')
    FROM outcome LEFT JOIN lost ON lost.ord = outcome.ord;
END
$$;

-- A batch. Rows that claim each other's addresses go one after another, the eldest first; all others at once.
CREATE FUNCTION posthorn.project_mailboxes(batch jsonb)
    RETURNS TABLE (ord integer, result text, reason text, shard text, conflicts jsonb)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
DECLARE
    declared  posthorn.mailbox_row[];
    claimed   posthorn.claim[];
    contended integer[];
    row_      posthorn.mailbox_row;
BEGIN
    SELECT array_agg(r) INTO declared FROM jsonb_populate_recordset(NULL::posthorn.mailbox_row, batch) r;

    SELECT array_agg(c) INTO claimed FROM posthorn.claims(declared) c;

    WITH rival AS (
        SELECT a.ord AS one, b.ord AS other
        FROM unnest(claimed) a JOIN unnest(claimed) b ON b.address = a.address AND b.ord <> a.ord
        UNION ALL
        SELECT c.ord, r.ord FROM unnest(claimed) c
        JOIN posthorn.addresses held ON held.address = c.address AND held.mailbox <> c.mailbox
        JOIN unnest(declared) r ON r.uuid = held.mailbox
        UNION ALL
        SELECT a.ord, b.ord FROM unnest(declared) a JOIN unnest(declared) b ON b.uuid = a.uuid AND b.ord <> a.ord
    )
    SELECT coalesce(array_agg(DISTINCT party.ord), '{}') INTO contended
    FROM rival CROSS JOIN LATERAL (VALUES (rival.one), (rival.other)) AS party (ord);

    RETURN QUERY SELECT * FROM posthorn.apply_mailboxes(
        (SELECT array_agg(r) FROM unnest(declared) r WHERE r.ord <> ALL (contended)));
    FOR row_ IN
        SELECT r.* FROM unnest(declared) r WHERE r.ord = ANY (contended) ORDER BY r.claimed_at, r.object_uid, r.ord
    LOOP
        RETURN QUERY SELECT * FROM posthorn.apply_mailboxes(ARRAY[row_]);
    END LOOP;
END
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA posthorn FROM PUBLIC;
REVOKE ALL ON TYPE posthorn.mailbox_row, posthorn.claim FROM PUBLIC;
