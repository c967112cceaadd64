-- How the operator writes mailboxes, with what 0006 has added; 0011 has the same for forwards.
-- As in 0004: batches are idempotent, one that changes nothing writes nothing, and of two claims to an address the
-- elder has it, be they of mailboxes or of forwards.
--
-- An address may belong to a mailbox and to a forward, if the forward's copy is for that mailbox. Then it is as old as
-- the elder of them, so that nobody between them in age can part them.

ALTER TYPE posthorn.mailbox_row
    ADD ATTRIBUTE state          text,
    ADD ATTRIBUTE state_until    timestamptz,
    ADD ATTRIBUTE suspended_mail text,
    ADD ATTRIBUTE ldap_user      text,
    ADD ATTRIBUTE require        jsonb,
    ADD ATTRIBUTE sending_hour   integer,
    ADD ATTRIBUTE sending_day    integer,
    ADD ATTRIBUTE retention      jsonb,
    -- These three: NULL leaves what there is.
    ADD ATTRIBUTE sieve          text,   -- empty: none
    ADD ATTRIBUTE members        jsonb,  -- [{"member", "rights", "send_as"}]
    ADD ATTRIBUTE app_passwords  jsonb;  -- [{"name", "source", "hash", "protocols"}]

ALTER TYPE posthorn.claim ADD ATTRIBUTE forward text COLLATE "C";

CREATE OR REPLACE FUNCTION posthorn.claims(batch posthorn.mailbox_row[]) RETURNS SETOF posthorn.claim
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT r.ord, r.uuid, c.address, substring(c.address FROM '[^@]+$'), c.kind, r.claimed_at, r.object_uid, NULL::text
    FROM unnest(batch) r
    CROSS JOIN LATERAL (
        SELECT r.address, 'mailbox'
        UNION ALL
        SELECT DISTINCT alias, 'alias' FROM unnest(r.aliases) alias WHERE alias <> r.address
    ) AS c (address, kind)
$$;

-- Is the copy of this forward for that mailbox?
CREATE FUNCTION posthorn.is_partner(forward text, namespace text, name text) RETURNS boolean
    LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM posthorn.forwards f
                   WHERE f.uid = forward AND f.object_namespace = namespace AND f.keep_copy = name)
$$;

-- The object that has an address, for a message.
CREATE FUNCTION posthorn.owner(a posthorn.addresses) RETURNS jsonb
    LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object('uid', object_uid, 'namespace', object_namespace, 'name', object_name)
    FROM (SELECT object_uid, object_namespace, object_name FROM posthorn.mailboxes WHERE uuid = (a).mailbox
          UNION ALL
          SELECT uid, object_namespace, object_name FROM posthorn.forwards WHERE uid = (a).forward AND (a).mailbox IS NULL) o
$$;

-- Addresses that mailboxes no longer have. One with a forward is the forward's alone from now on.
CREATE FUNCTION posthorn.release(released text[]) RETURNS SETOF uuid
    LANGUAGE sql VOLATILE AS $$
    WITH kept AS (
        UPDATE posthorn.addresses a
        SET kind = 'forward', mailbox = NULL, claimed_at = f.claimed_at, claimant = f.uid
        FROM posthorn.forwards f, posthorn.addresses before
        WHERE a.address = ANY (released) AND f.uid = a.forward AND before.address = a.address
        RETURNING before.mailbox
    ), gone AS (
        DELETE FROM posthorn.addresses a WHERE a.address = ANY (released) AND a.forward IS NULL
        RETURNING a.mailbox
    )
    SELECT mailbox FROM kept UNION ALL SELECT mailbox FROM gone
$$;

-- A mailbox that has lost its main address cannot be reached by its aliases: others may have them.
CREATE FUNCTION posthorn.release_unreachable(deprived uuid[]) RETURNS void
    LANGUAGE sql VOLATILE AS $$
    SELECT posthorn.release(array_agg(a.address)) FROM posthorn.addresses a
    WHERE a.mailbox = ANY (deprived)
      AND NOT EXISTS (SELECT FROM posthorn.addresses p WHERE p.mailbox = a.mailbox AND p.kind = 'mailbox')
$$;

-- Why a mailbox cannot be written at all; NULL if it can.
CREATE OR REPLACE FUNCTION posthorn.refusal(r posthorn.mailbox_row) RETURNS text
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
        RETURN CASE WHEN a.mailbox IS NULL AND posthorn.is_partner(a.forward, r.object_namespace, r.object_name) THEN NULL
                    ELSE 'AddressConflict' END;
    END IF;
    RETURN NULL;
END
$$;

-- What of a mailbox is in tables of its own. Returns the mailboxes of which something has changed.
CREATE FUNCTION posthorn.write_details(accepted posthorn.mailbox_row[]) RETURNS uuid[]
    LANGUAGE sql VOLATILE SET plan_cache_mode = force_custom_plan AS $$
    WITH script AS (
        INSERT INTO posthorn.sieve AS v (mailbox, script, hash, changed_at)
        SELECT r.uuid, d.script, encode(sha256(convert_to(d.script, 'UTF8')), 'hex'), clock_timestamp()
        FROM unnest(accepted) r
        CROSS JOIN LATERAL (SELECT nullif(r.sieve, '')) AS d (script)
        LEFT JOIN posthorn.sieve o ON o.mailbox = r.uuid
        WHERE r.sieve IS NOT NULL AND o.script IS DISTINCT FROM d.script
        ON CONFLICT (mailbox) DO UPDATE SET
            script = excluded.script, hash = excluded.hash, changed_at = excluded.changed_at
        RETURNING v.mailbox
    ), member AS (
        SELECT r.uuid AS mailbox, r.object_namespace AS namespace, d.member, d.rights, d.send_as
        FROM unnest(accepted) r
        CROSS JOIN LATERAL jsonb_to_recordset(r.members) AS d (member text, rights text, send_as boolean)
    ), member_gone AS (
        DELETE FROM posthorn.members o USING unnest(accepted) r
        WHERE o.mailbox = r.uuid AND r.members IS NOT NULL
          AND NOT EXISTS (SELECT FROM member d WHERE d.mailbox = o.mailbox AND d.member = o.member)
        RETURNING o.mailbox
    ), member_written AS (
        INSERT INTO posthorn.members AS w (mailbox, namespace, member, rights, send_as)
        SELECT d.* FROM member d
        LEFT JOIN posthorn.members o ON o.mailbox = d.mailbox AND o.member = d.member
        WHERE (o.namespace, o.rights, o.send_as) IS DISTINCT FROM (d.namespace, d.rights, d.send_as)
        ON CONFLICT (mailbox, member) DO UPDATE SET
            namespace = excluded.namespace, rights = excluded.rights, send_as = excluded.send_as
        RETURNING w.mailbox
    ), app_password AS (
        -- No hash is given where the one of this source is here already. If it isn't, there is no such password.
        SELECT r.uuid AS mailbox, d.name, CASE WHEN o.source = d.source THEN o.hash ELSE d.hash END AS hash,
            d.source, d.protocols
        FROM unnest(accepted) r
        CROSS JOIN LATERAL jsonb_to_recordset(r.app_passwords)
            AS d (name text COLLATE "C", source text, hash text, protocols text[])
        LEFT JOIN posthorn.app_passwords o ON o.mailbox = r.uuid AND o.name = d.name
    ), app_password_gone AS (
        DELETE FROM posthorn.app_passwords o USING unnest(accepted) r
        WHERE o.mailbox = r.uuid AND r.app_passwords IS NOT NULL AND NOT EXISTS
            (SELECT FROM app_password d WHERE d.mailbox = o.mailbox AND d.name = o.name AND d.hash IS NOT NULL)
        RETURNING o.mailbox
    ), app_password_written AS (
        INSERT INTO posthorn.app_passwords AS w (mailbox, name, hash, source, protocols)
        SELECT d.* FROM app_password d
        LEFT JOIN posthorn.app_passwords o ON o.mailbox = d.mailbox AND o.name = d.name
        WHERE d.hash IS NOT NULL AND (o.source, o.protocols) IS DISTINCT FROM (d.source, d.protocols)
        ON CONFLICT (mailbox, name) DO UPDATE SET
            hash = excluded.hash, source = excluded.source, protocols = excluded.protocols
        RETURNING w.mailbox
    )
    SELECT coalesce(array_agg(mailbox), '{}') FROM (
        TABLE script UNION ALL TABLE member_gone UNION ALL TABLE member_written
        UNION ALL TABLE app_password_gone UNION ALL TABLE app_password_written) AS changed (mailbox)
$$;

-- Rows that have nothing to do with each other. Custom plans: then the planner knows how long the arrays are, and
-- takes indexes for a row and hash joins for a thousand.
CREATE OR REPLACE FUNCTION posthorn.apply_mailboxes(batch posthorn.mailbox_row[])
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

    SELECT array_agg(ROW(c.ord, c.mailbox, c.address, c.domain, c.kind,
        CASE WHEN (f.claimed_at, f.uid) < (c.claimed_at, c.claimant) THEN f.claimed_at ELSE c.claimed_at END,
        CASE WHEN (f.claimed_at, f.uid) < (c.claimed_at, c.claimant) THEN f.uid ELSE c.claimant END,
        f.uid)::posthorn.claim) INTO wanted
    FROM unnest(claimed) c
    JOIN unnest(accepted) r ON r.ord = c.ord
    JOIN posthorn.domains d ON d.domain = c.domain
    LEFT JOIN posthorn.addresses a ON a.address = c.address
    LEFT JOIN posthorn.forwards f
        ON f.uid = a.forward AND f.object_namespace = r.object_namespace AND f.keep_copy = r.object_name
    WHERE a.address IS NULL OR a.mailbox = c.mailbox OR (a.kind = 'forward' AND f.uid IS NOT NULL)
       OR (c.claimed_at, c.claimant) < (a.claimed_at, a.claimant);

    -- The shard is given at birth: where the data is does not change by declaring something else.
    WITH written AS (
        INSERT INTO posthorn.mailboxes AS m (uuid, address, shard, quota_bytes, deletion_policy, password,
            password_source, object_uid, object_namespace, object_name, state, state_until, suspended_mail, ldap_user,
            require, sending_hour, sending_day, retention, claimed_at)
        SELECT r.uuid, r.address, coalesce(o.shard, r.shard), r.quota_bytes, r.deletion_policy,
            CASE WHEN keep.password THEN o.password ELSE r.password END,
            CASE WHEN keep.password THEN o.password_source ELSE r.password_source END,
            r.object_uid, r.object_namespace, r.object_name, r.state, r.state_until, r.suspended_mail, r.ldap_user,
            r.require, r.sending_hour, r.sending_day, r.retention, r.claimed_at
        FROM unnest(accepted) r
        LEFT JOIN posthorn.mailboxes o ON o.uuid = r.uuid
        CROSS JOIN LATERAL (SELECT o.object_uid = r.object_uid
            AND (NOT r.set_password OR o.password_source IS NOT DISTINCT FROM r.password_source) AS password) AS keep
        WHERE o.uuid IS NULL OR o.deleted_at IS NOT NULL OR NOT keep.password
           OR (o.address, o.quota_bytes, o.deletion_policy, o.object_uid, o.object_namespace, o.object_name, o.state,
               o.state_until, o.suspended_mail, o.ldap_user, o.require, o.sending_hour, o.sending_day, o.retention,
               o.claimed_at)
              IS DISTINCT FROM
              (r.address, r.quota_bytes, r.deletion_policy, r.object_uid, r.object_namespace, r.object_name, r.state,
               r.state_until, r.suspended_mail, r.ldap_user, r.require, r.sending_hour, r.sending_day, r.retention,
               r.claimed_at)
        ORDER BY r.uuid
        ON CONFLICT (uuid) DO UPDATE SET
            address = excluded.address, quota_bytes = excluded.quota_bytes,
            deletion_policy = excluded.deletion_policy, password = excluded.password,
            password_source = excluded.password_source, object_uid = excluded.object_uid,
            object_namespace = excluded.object_namespace, object_name = excluded.object_name,
            state = excluded.state, state_until = excluded.state_until, suspended_mail = excluded.suspended_mail,
            ldap_user = excluded.ldap_user, require = excluded.require, sending_hour = excluded.sending_hour,
            sending_day = excluded.sending_day, retention = excluded.retention, claimed_at = excluded.claimed_at,
            -- Another quota: only the store knows whether it is full now.
            over_quota = CASE WHEN m.quota_bytes IS NOT DISTINCT FROM excluded.quota_bytes THEN m.over_quota END,
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

    touched := touched || posthorn.write_details(accepted);

    -- Also an address that stays but changes its kind: a mailbox has one main address at every moment.
    SELECT coalesce(array_agg(mailbox), '{}') INTO more FROM posthorn.release(ARRAY(
        SELECT a.address FROM posthorn.addresses a JOIN unnest(accepted) r ON r.uuid = a.mailbox
        WHERE NOT EXISTS (SELECT FROM unnest(wanted) c
                          WHERE c.mailbox = a.mailbox AND c.address = a.address AND c.kind = a.kind))) AS mailbox;
    touched := touched || more;

    SELECT array_agg(o.mailbox) INTO deprived
    FROM unnest(wanted) c
    JOIN posthorn.addresses o ON o.address = c.address AND o.kind = 'mailbox' AND o.mailbox <> c.mailbox;

    WITH taken AS (
        INSERT INTO posthorn.addresses AS a (address, domain, kind, mailbox, claimed_at, claimant, forward)
        SELECT c.address, c.domain, c.kind, c.mailbox, c.claimed_at, c.claimant, c.forward
        FROM unnest(wanted) c
        LEFT JOIN posthorn.addresses o ON o.address = c.address
        WHERE o.address IS NULL
           OR (o.kind, o.mailbox, o.claimed_at, o.claimant, o.forward)
              IS DISTINCT FROM (c.kind, c.mailbox, c.claimed_at, c.claimant, c.forward)
        ORDER BY c.address
        ON CONFLICT (address) DO UPDATE SET
            kind = excluded.kind, mailbox = excluded.mailbox, forward = excluded.forward,
            claimed_at = excluded.claimed_at, claimant = excluded.claimant
        WHERE a.mailbox = excluded.mailbox OR (a.kind = 'forward' AND a.forward = excluded.forward)
           OR (excluded.claimed_at, excluded.claimant) < (a.claimed_at, a.claimant)
        RETURNING a.mailbox
    )
    SELECT coalesce(array_agg(mailbox), '{}') INTO more FROM taken;
    touched := touched || more;

    PERFORM posthorn.release_unreachable(deprived);

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
            'owner', posthorn.owner(a)
        ) ORDER BY c.address) AS conflicts
        FROM unnest(claimed) c
        LEFT JOIN posthorn.addresses a ON a.address = c.address
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
CREATE OR REPLACE FUNCTION posthorn.project_mailboxes(batch jsonb)
    RETURNS TABLE (ord integer, result text, reason text, shard text, conflicts jsonb)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
DECLARE
    declared  posthorn.mailbox_row[];
    claimed   posthorn.claim[];
    contended integer[];
    row_      posthorn.mailbox_row;
BEGIN
    -- An operator of the release before says nothing of states and the like: they stay.
    SELECT array_agg(jsonb_populate_record(NULL::posthorn.mailbox_row, CASE WHEN item ? 'state' THEN item ELSE coalesce(
        (SELECT to_jsonb(m) - 'password' - 'password_source' FROM posthorn.mailboxes m WHERE m.uuid = (item ->> 'uuid')::uuid),
        '{"state": "Active", "suspended_mail": "Accept"}') || item END)) INTO declared
    FROM jsonb_array_elements(batch) item;

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
