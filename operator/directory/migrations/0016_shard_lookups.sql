-- Where mail and people are sent: to the primary of a shard.

-- These two are plpgsql because that keeps its plans: functions in SQL that read a table are planned at each call.

-- The Service of the shard as long as it has one member, or none has ever had the lease. NULL: it has no primary now.
CREATE FUNCTION posthorn.store_host(asked text) RETURNS text
    LANGUAGE plpgsql STABLE AS $$
DECLARE
    s posthorn.shards;
BEGIN
    SELECT * INTO s FROM posthorn.shards WHERE name = asked;
    IF s.epoch = 0 OR s.replicas = 1 AND coalesce(s.primary_member, 0) = 0 THEN
        RETURN s.host;
    END IF;
    RETURN (SELECT h.host FROM posthorn.shard_members h WHERE h.shard = asked AND h.member = s.primary_member);
END
$$;

-- Nobody gets in now, because it changes its shard.
CREATE FUNCTION posthorn.switching(asked uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (SELECT FROM posthorn.moves v WHERE v.mailbox = asked AND v.phase = 'switching');
END
$$;

-- As in 0008.
CREATE OR REPLACE FUNCTION directory_v1.route(address text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    p posthorn.place;
BEGIN
    p := posthorn.place(address);  -- here, so that an error of it is caught
    IF p.kind = 'alias' AND p.forward IS NULL THEN
        PERFORM posthorn.require_fresh(address);
    END IF;
    IF p.elsewhere IS NOT NULL OR p.forward IS NOT NULL AND p.kind <> 'mailbox' OR p.kind = 'alias'
        OR p.domain = 'forward.invalid' THEN
        RETURN (SELECT coalesce('forward:[' || s.forward_host || ']:10025', 'retry:4.3.0 nothing here forwards mail')
                FROM posthorn.settings s);
    ELSIF p.shard IS NOT NULL THEN
        RETURN (SELECT CASE WHEN posthorn.switching(p.mailbox) THEN 'retry:4.3.0 mailbox is being moved'
                            ELSE coalesce('lmtp:inet:' || posthorn.store_host(p.shard) || ':' || s.lmtp_port,
                                          'retry:4.3.0 shard has no primary now') END
                FROM posthorn.shards s WHERE s.name = p.shard);
    ELSIF p.asked IS NULL OR p.kind IS NOT NULL THEN
        RETURN NULL;
    ELSIF NOT posthorn.fresh() THEN
        RETURN 'retry:4.3.0 directory is catching up';
    END IF;
    RETURN CASE WHEN p.hosted THEN 'error:5.1.1 no such mailbox' END;
EXCEPTION WHEN query_canceled OR OTHERS THEN
    RETURN 'retry:4.3.0 directory is catching up';
END
$$;

-- As in 0009; host and epoch are those of the primary. Submission needs no store: only others are told to come again
-- when there is none.
DROP FUNCTION directory_v1.credentials(text);
CREATE FUNCTION directory_v1.credentials(login text)
    RETURNS TABLE (username text, mailbox uuid, state text, may_login boolean, may_send boolean,
                   host text, imap_port integer, sieve_port integer, credentials jsonb, ldap text, epoch bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM posthorn.require_age(60);
    SELECT a.address, m.uuid, e.state, e.state IN ('Active', 'ReceiveOnly', 'SendBlocked'), e.state = 'Active',
        CASE WHEN NOT posthorn.switching(m.uuid) THEN posthorn.store_host(s.name) END, s.imap_port, s.sieve_port,
        coalesce((
            SELECT jsonb_agg(jsonb_build_object('id', c.id, 'hash', c.hash, 'protocols', c.protocols) ORDER BY c.place, c.id)
            FROM (SELECT 0, 'password', m.password, NULL::text[] WHERE m.password IS NOT NULL
                  UNION ALL
                  SELECT 1, 'app/' || p.name, p.hash, p.protocols FROM posthorn.app_passwords p WHERE p.mailbox = m.uuid
                 ) AS c (place, id, hash, protocols)), '[]'),
        m.ldap_user, s.epoch
    INTO username, mailbox, state, may_login, may_send, host, imap_port, sieve_port, credentials, ldap, epoch
    FROM posthorn.addresses a
    JOIN posthorn.mailboxes m ON m.uuid = a.mailbox
    JOIN posthorn.shards s ON s.name = m.shard
    CROSS JOIN LATERAL posthorn.effective_state(m.state, m.state_until) AS e (state)
    WHERE a.address = rtrim(lower(btrim(credentials.login) COLLATE "C"), '.')
      AND a.kind = 'mailbox' AND m.deleted_at IS NULL;
    IF NOT FOUND THEN
        PERFORM posthorn.require_fresh(login);
        RETURN;
    ELSIF host IS NULL AND session_user <> 'posthorn_submission' THEN
        RAISE EXCEPTION 'the mailbox of <%> is on no store now', posthorn.printable(login)
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    host := coalesce(host, '');
    RETURN NEXT;
END
$$;

-- The former one, for daemons of the release before.
CREATE OR REPLACE FUNCTION directory_v1.login(login text)
    RETURNS TABLE (username text, password text, shard text, host text, imap_port integer, sieve_port integer)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT a.address, m.password, m.shard, coalesce(posthorn.store_host(s.name), s.host), s.imap_port, s.sieve_port
    FROM posthorn.addresses a
    JOIN posthorn.mailboxes m ON m.uuid = a.mailbox
    JOIN posthorn.shards s ON s.name = m.shard
    WHERE a.address = rtrim(lower(btrim(login.login) COLLATE "C"), '.')
      AND a.kind = 'mailbox' AND m.deleted_at IS NULL AND m.password IS NOT NULL
      AND posthorn.effective_state(m.state, m.state_until) IN ('Active', 'ReceiveOnly', 'SendBlocked')
$$;

-- For proxies: sessions that were led elsewhere have to end. host NULL: the shard has no primary now.
CREATE FUNCTION directory_v1.shard_epochs() RETURNS TABLE (shard text, epoch bigint, host text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.name, s.epoch, posthorn.store_host(s.name) FROM posthorn.shards s ORDER BY s.name
$$;

-- The mailbox of a main address, also with a +detail, and back; NULL: none, or unknown to this member. As with homes,
-- nothing of a replica that is a minute behind: the address may be another mailbox's by now.
CREATE FUNCTION directory_v1.mailbox_of(address text) RETURNS uuid
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    asked text := rtrim(lower(btrim(address) COLLATE "C"), '.');
    found_ uuid;
BEGIN
    PERFORM posthorn.require_age(60);
    SELECT h.mailbox INTO found_ FROM posthorn.holder(asked) h;
    IF NOT FOUND AND asked LIKE '_%+%@%' THEN
        SELECT h.mailbox INTO found_
        FROM posthorn.holder(split_part(asked, '+', 1) || '@' || split_part(asked, '@', -1)) h;
    END IF;
    RETURN found_;
END
$$;

CREATE FUNCTION directory_v1.address_of(mailbox uuid) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM posthorn.require_age(60);
    RETURN (SELECT a.address FROM posthorn.addresses a JOIN posthorn.mailboxes m ON m.uuid = a.mailbox
            WHERE a.mailbox = address_of.mailbox AND a.kind = 'mailbox' AND m.deleted_at IS NULL);
END
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA posthorn, directory_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION directory_v1.credentials(text) TO posthorn_proxy, posthorn_submission;
GRANT EXECUTE ON FUNCTION directory_v1.shard_epochs() TO posthorn_proxy;
GRANT EXECUTE ON FUNCTION directory_v1.mailbox_of(text), directory_v1.address_of(uuid) TO posthorn_store;
