-- A mailbox by its UUID, for what goes by mailboxes and not by people: syncs and their comparisons, journals, moves. An
-- address may be another mailbox's a moment later, and two members of the directory may differ about whose it is.
-- Both ends of a sync ask for themselves: by address they could put two people's mail into one mailbox.

-- The mailbox of a user name like UUID or UUID@uuid.invalid; NULL: it is no such name.
CREATE FUNCTION posthorn.mailbox_named(username text) RETURNS uuid
    LANGUAGE sql IMMUTABLE AS $$
    SELECT substring(username FROM '^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:@uuid\.invalid)?$')::uuid
$$;

-- Its data is there to stay: it is somebody's, or was deleted and may be adopted again. Not in the last minute before it may
-- be removed, by whatever clock.
CREATE FUNCTION posthorn.kept(deleted_at timestamptz, purge_after timestamptz) RETURNS boolean
    LANGUAGE sql STABLE AS $$
    SELECT deleted_at IS NULL OR purge_after IS NULL OR purge_after > now() + interval '1 minute'
$$;

-- As in 0017. For protocol doveadm also by UUID, whoever has its address, and when it is deleted but kept.
CREATE OR REPLACE FUNCTION directory_v1.store_user(username text, shard text, protocol text)
    RETURNS TABLE (home text, uuid uuid, addresses text, may_send boolean, "full" boolean, full_mask text,
                   quota_storage_size text, quota_storage_grace text, userdb_import text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    named uuid := CASE WHEN protocol = 'doveadm' THEN posthorn.mailbox_named(username) END;
    m     posthorn.mailboxes;
    move  posthorn.moves;
BEGIN
    IF named IS NULL THEN
        SELECT b.* INTO m FROM posthorn.addresses a JOIN posthorn.mailboxes b ON b.uuid = a.mailbox
        WHERE a.address = store_user.username AND a.kind = 'mailbox' AND b.deleted_at IS NULL;
    ELSE
        SELECT b.* INTO m FROM posthorn.mailboxes b WHERE b.uuid = named AND posthorn.kept(b.deleted_at, b.purge_after);
    END IF;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT * INTO move FROM posthorn.moves v WHERE v.mailbox = m.uuid AND v.phase NOT IN ('done', 'failed');
    IF move.phase IS NOT NULL AND protocol = 'doveadm' THEN
        IF store_user.shard NOT IN (move.from_shard, move.to_shard) THEN
            RETURN;
        END IF;
    ELSIF m.shard <> store_user.shard OR move.phase = 'switching' THEN
        RETURN;
    END IF;
    IF pg_is_in_recovery() AND NOT EXISTS (
        SELECT FROM posthorn.heartbeat h WHERE h.beat BETWEEN statement_timestamp() - interval '1 minute'
                                                          AND statement_timestamp() + interval '1 minute') THEN
        RETURN;
    END IF;
    home := m.home;
    uuid := m.uuid;
    addresses := (SELECT string_agg(own.address, ',' ORDER BY own.kind DESC, own.address)
                  FROM posthorn.addresses own WHERE own.mailbox = m.uuid);
    may_send := m.deleted_at IS NULL AND (m.state = 'Active' OR coalesce(m.state_until <= now(), false)) AND NOT EXISTS (
        SELECT FROM posthorn.incidents i WHERE i.mailbox = m.uuid AND i.until > now());
    "full" := coalesce(m.over_quota, false);
    full_mask := CASE WHEN m.quota_bytes IS NOT NULL THEN 't*' ELSE '' END;
    quota_storage_size := coalesce(m.quota_bytes || 'B', 'unlimited');
    quota_storage_grace := least(coalesce(m.quota_bytes, 0) / 3, 52428800) || 'B';
    IF m.deleted_at IS NULL AND EXISTS (
        SELECT FROM posthorn.members s WHERE s.namespace = m.object_namespace AND s.member = m.object_name) THEN
        userdb_import := posthorn.namespaces(posthorn.shared_with(m.object_namespace, m.object_name, m.shard));
    END IF;
    RETURN NEXT;
END
$$;

-- As in 0015, also by UUID.
CREATE OR REPLACE FUNCTION directory_v1.move_target(username text, shard text) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    asked text := rtrim(lower(btrim(username) COLLATE "C"), '.');
    moved uuid := posthorn.mailbox_named(asked);
BEGIN
    IF moved IS NULL THEN
        SELECT a.mailbox INTO moved FROM posthorn.addresses a WHERE a.address = asked AND a.kind = 'mailbox';
    END IF;
    RETURN EXISTS (SELECT FROM posthorn.moves v WHERE v.mailbox = moved AND v.to_shard = move_target.shard
                                                  AND v.phase NOT IN ('done', 'failed'));
END
$$;

-- Whether store_user has it for syncs of this shard. Nothing from a member that is a minute behind; a no of any but the leader
-- may be of the time before.
CREATE FUNCTION directory_v1.lives_here(mailbox uuid, shard text) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM posthorn.require_age(60);
    RETURN EXISTS (
        SELECT FROM posthorn.mailboxes m
        LEFT JOIN posthorn.moves v ON v.mailbox = m.uuid AND v.phase NOT IN ('done', 'failed')
        WHERE m.uuid = lives_here.mailbox AND posthorn.kept(m.deleted_at, m.purge_after)
          AND lives_here.shard IN (m.shard, v.from_shard, v.to_shard));
END
$$;

-- Everything that each copy of the shard has to have; username NULL: it is deleted, but kept. Of the leader only: a list that lags
-- would leave somebody out.
CREATE FUNCTION directory_v1.shard_mailboxes(shard text) RETURNS TABLE (uuid uuid, username text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'a replica of the directory may not know all mailboxes' USING ERRCODE = 'read_only_sql_transaction';
    END IF;
    RETURN QUERY
    SELECT m.uuid, a.address FROM posthorn.mailboxes m
    LEFT JOIN posthorn.addresses a ON a.mailbox = m.uuid AND a.kind = 'mailbox' AND m.deleted_at IS NULL
    WHERE m.shard = shard_mailboxes.shard AND posthorn.kept(m.deleted_at, m.purge_after);
END
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA posthorn, directory_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION directory_v1.lives_here(uuid, text), directory_v1.shard_mailboxes(text) TO posthorn_store;
