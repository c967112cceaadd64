-- A mailbox as Dovecot's userdb takes it, in a function that keeps its plans: a query on the view userdb is planned
-- each time that it is asked, which took ten times as long as to answer it. The view stays for what asks for many.

-- The shared mailboxes of a member, as in the view.
CREATE FUNCTION posthorn.shared_with(member_namespace text, member_name text, member_shard text) RETURNS jsonb
    LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT jsonb_agg(jsonb_build_object('uuid', box.uuid, 'rights', s.rights, 'name', CASE WHEN EXISTS (
                    SELECT FROM posthorn.members other JOIN posthorn.mailboxes twin ON twin.uuid = other.mailbox
                    WHERE other.namespace = s.namespace AND other.member = s.member
                      AND twin.uuid <> box.uuid AND twin.object_name = box.object_name AND twin.deleted_at IS NULL
                 ) THEN box.object_name || '.' || left(box.uuid::text, 8) ELSE box.object_name END) ORDER BY main.address)
        FROM posthorn.members s
        JOIN posthorn.mailboxes box ON box.uuid = s.mailbox
        JOIN posthorn.addresses main ON main.mailbox = box.uuid AND main.kind = 'mailbox'
        WHERE s.namespace = member_namespace AND s.member = member_name
          AND box.deleted_at IS NULL AND box.shard = member_shard
          AND (box.state IN ('Active', 'ReceiveOnly', 'SendBlocked') OR box.state_until <= now())
          AND coalesce((SELECT h.beat BETWEEN statement_timestamp() - interval '1 minute'
                                          AND statement_timestamp() + interval '1 minute' FROM posthorn.heartbeat h),
                       NOT pg_is_in_recovery()));
END
$$;

-- Dovecot's settings for them: a namespace each, with rights by ACL (RFC 4314). Dovecot takes 8 KiB for an answer, and
-- more would be a failed login: what doesn't fit is left out, in the order of addresses. Room for about 25.
CREATE FUNCTION posthorn.namespaces(shared jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN (
        SELECT 'namespace+=' || string_agg('s' || n, ',') || string_agg(setting, '')
        FROM (SELECT n, setting, sum(length(setting) + 5) OVER (ORDER BY n) AS length
              FROM jsonb_array_elements(shared) WITH ORDINALITY AS member (s, n),
                  LATERAL (SELECT string_agg(concat(chr(9), 'namespace/s', n, '/', word), '') AS setting
                           FROM unnest(ARRAY['prefix=Shared/' || (s ->> 'name') || '/', 'type=public',
                               'mail_path=/srv/mail/mailboxes/' || left(s ->> 'uuid', 2) || '/' || (s ->> 'uuid') || '/mail',
                               'subscriptions=no', 'ignore_on_failure=yes', 'quota_ignore=yes',
                               CASE s ->> 'rights' WHEN 'ReadWrite' THEN 'acl/anyone/acl_rights=lrwstipekx' END]) word
                           WHERE word IS NOT NULL) AS line) AS fitting
        WHERE length < 7000);
END
$$;

-- username: its main address. No row: LMTP and log-ins are put off. Also: on a replica whose view is a minute old; on a
-- shard where it doesn't live; and while it is switching. But whatever its phase, dsync (protocol doveadm) opens a
-- mailbox that moves, on both shards.
-- full: the store said that it is; NULL and no limit are not full, and full_mask is empty where there is no question.
CREATE FUNCTION directory_v1.store_user(username text, shard text, protocol text)
    RETURNS TABLE (home text, uuid uuid, addresses text, may_send boolean, "full" boolean, full_mask text,
                   quota_storage_size text, quota_storage_grace text, userdb_import text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    m    posthorn.mailboxes;
    move posthorn.moves;
BEGIN
    SELECT b.* INTO m FROM posthorn.addresses a JOIN posthorn.mailboxes b ON b.uuid = a.mailbox
    WHERE a.address = store_user.username AND a.kind = 'mailbox' AND b.deleted_at IS NULL;
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
    may_send := (m.state = 'Active' OR coalesce(m.state_until <= now(), false)) AND NOT EXISTS (
        SELECT FROM posthorn.incidents i WHERE i.mailbox = m.uuid AND i.until > now());
    "full" := coalesce(m.over_quota, false);
    full_mask := CASE WHEN m.quota_bytes IS NOT NULL THEN 't*' ELSE '' END;
    quota_storage_size := coalesce(m.quota_bytes || 'B', 'unlimited');
    quota_storage_grace := least(coalesce(m.quota_bytes, 0) / 3, 52428800) || 'B';
    IF EXISTS (SELECT FROM posthorn.members s WHERE s.namespace = m.object_namespace AND s.member = m.object_name) THEN
        userdb_import := posthorn.namespaces(posthorn.shared_with(m.object_namespace, m.object_name, m.shard));
    END IF;
    RETURN NEXT;
END
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA posthorn, directory_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION directory_v1.store_user(text, text, text) TO posthorn_store;
