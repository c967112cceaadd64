-- What those ask who let people in, let them send, and keep their mail.

-- Roles and states: who may log in, and what with. No row: nobody of that name. Only the main address logs in.
CREATE FUNCTION directory_v1.credentials(login text)
    RETURNS TABLE (username text, mailbox uuid, state text, may_login boolean, may_send boolean,
                   host text, imap_port integer, sieve_port integer, credentials jsonb, ldap text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM posthorn.require_age(60);
    RETURN QUERY
    SELECT a.address, m.uuid, e.state, e.state IN ('Active', 'ReceiveOnly', 'SendBlocked'), e.state = 'Active',
        s.host, s.imap_port, s.sieve_port,
        coalesce((
            SELECT jsonb_agg(jsonb_build_object('id', c.id, 'hash', c.hash, 'protocols', c.protocols) ORDER BY c.place, c.id)
            FROM (SELECT 0, 'password', m.password, NULL::text[] WHERE m.password IS NOT NULL
                  UNION ALL
                  SELECT 1, 'app/' || p.name, p.hash, p.protocols FROM posthorn.app_passwords p WHERE p.mailbox = m.uuid
                 ) AS c (place, id, hash, protocols)), '[]'),
        m.ldap_user
    FROM posthorn.addresses a
    JOIN posthorn.mailboxes m ON m.uuid = a.mailbox
    JOIN posthorn.shards s ON s.name = m.shard
    CROSS JOIN LATERAL posthorn.effective_state(m.state, m.state_until) AS e (state)
    WHERE a.address = rtrim(lower(btrim(credentials.login) COLLATE "C"), '.')
      AND a.kind = 'mailbox' AND m.deleted_at IS NULL;
    IF NOT FOUND THEN
        PERFORM posthorn.require_fresh(login);
    END IF;
END
$$;

-- The former one, for daemons of the release before. It has no place for app passwords.
CREATE OR REPLACE FUNCTION directory_v1.login(login text)
    RETURNS TABLE (username text, password text, shard text, host text, imap_port integer, sieve_port integer)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT a.address, m.password, m.shard, s.host, s.imap_port, s.sieve_port
    FROM posthorn.addresses a
    JOIN posthorn.mailboxes m ON m.uuid = a.mailbox
    JOIN posthorn.shards s ON s.name = m.shard
    WHERE a.address = rtrim(lower(btrim(login.login) COLLATE "C"), '.')
      AND a.kind = 'mailbox' AND m.deleted_at IS NULL AND m.password IS NOT NULL
      AND posthorn.effective_state(m.state, m.state_until) IN ('Active', 'ReceiveOnly', 'SendBlocked')
$$;

-- How much a login may send. NULL: any number. Throttled: an incident that was reported is not over.
CREATE FUNCTION directory_v1.sending(login text)
    RETURNS TABLE (username text, domain text, state text, may_send boolean, hour_limit integer, day_limit integer,
                   domain_hour_limit integer)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM posthorn.require_age(60);
    RETURN QUERY
    SELECT a.address, a.domain, e.state, e.state = 'Active', coalesce(m.sending_hour, s.user_hour),
        coalesce(m.sending_day, s.user_day), coalesce(d.sending_hour, s.domain_hour)
    FROM posthorn.addresses a
    JOIN posthorn.domains d ON d.domain = a.domain
    JOIN posthorn.mailboxes m ON m.uuid = a.mailbox
    CROSS JOIN posthorn.settings s
    CROSS JOIN LATERAL posthorn.effective_state(m.state, m.state_until) AS declared (state)
    CROSS JOIN LATERAL (
        SELECT CASE WHEN declared.state = 'Active' AND EXISTS (
            SELECT FROM posthorn.incidents i WHERE i.mailbox = m.uuid AND i.until > now()
        ) THEN 'Throttled' ELSE declared.state END) AS e (state)
    WHERE a.address = rtrim(lower(btrim(sending.login) COLLATE "C"), '.')
      AND a.kind = 'mailbox' AND m.deleted_at IS NULL;
    IF NOT FOUND THEN
        PERFORM posthorn.require_fresh(login);
    END IF;
END
$$;

-- Whose sessions have to end, for what has happened since. Writers take time to commit: it looks back further than
-- asked, so what is known already comes again, with the same time. A member that lags doesn't answer.
CREATE FUNCTION directory_v1.revoked(since timestamptz) RETURNS TABLE (username text, at timestamptz)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM posthorn.require_age(5);
    RETURN QUERY
    SELECT r.username, r.at FROM posthorn.revocations r
    WHERE r.at > greatest(since, now() - interval '1 day') - interval '20 seconds' ORDER BY r.at;
END
$$;

-- The store's view of a mailbox; what is new is at the end. A replica whose view is older than a minute has no rows, so
-- that mail is put off: the address may be another mailbox's by now.
-- addresses: its own, the main one first. over: quota_state() said that it is full; NULL: look again.
-- shared: mailboxes of others that it may open, each under a name that is unique among them; NULL when this member
-- lags, so that nobody opens what was taken away.
CREATE OR REPLACE VIEW directory_v1.userdb AS
    SELECT a.address AS username, m.uuid, m.home, m.shard, m.quota_bytes,
        (SELECT string_agg(own.address, ',' ORDER BY own.kind DESC, own.address)
         FROM posthorn.addresses own WHERE own.mailbox = m.uuid) AS addresses,
        m.over_quota AS over,
        m.retention,
        (SELECT jsonb_agg(jsonb_build_object('uuid', box.uuid, 'rights', s.rights, 'name', CASE WHEN EXISTS (
                    SELECT FROM posthorn.members other JOIN posthorn.mailboxes twin ON twin.uuid = other.mailbox
                    WHERE other.namespace = s.namespace AND other.member = s.member
                      AND twin.uuid <> box.uuid AND twin.object_name = box.object_name AND twin.deleted_at IS NULL
                 ) THEN box.object_name || '.' || left(box.uuid::text, 8) ELSE box.object_name END) ORDER BY main.address)
         FROM posthorn.members s
         JOIN posthorn.mailboxes box ON box.uuid = s.mailbox
         JOIN posthorn.addresses main ON main.mailbox = box.uuid AND main.kind = 'mailbox'
         WHERE s.namespace = m.object_namespace AND s.member = m.object_name
           AND box.deleted_at IS NULL AND box.shard = m.shard
           AND (box.state IN ('Active', 'ReceiveOnly', 'SendBlocked') OR box.state_until <= now())
           AND coalesce((SELECT h.beat BETWEEN statement_timestamp() - interval '1 minute'
                                           AND statement_timestamp() + interval '1 minute' FROM posthorn.heartbeat h),
                        NOT pg_is_in_recovery())
        ) AS shared,
        -- as sending() says
        (m.state = 'Active' OR coalesce(m.state_until <= now(), false)) AND NOT EXISTS (
            SELECT FROM posthorn.incidents i WHERE i.mailbox = m.uuid AND i.until > now()) AS may_send
    FROM posthorn.addresses a
    JOIN posthorn.mailboxes m ON m.uuid = a.mailbox
    WHERE a.kind = 'mailbox' AND m.deleted_at IS NULL
      AND (NOT pg_is_in_recovery() OR EXISTS (
          SELECT FROM posthorn.heartbeat h WHERE h.beat BETWEEN statement_timestamp() - interval '1 minute'
                                                            AND statement_timestamp() + interval '1 minute'));

-- Declared scripts of a shard that have changed since; script NULL: there is none any more. Looks back further, too.
CREATE FUNCTION directory_v1.declared_sieve(shard text, since timestamptz)
    RETURNS TABLE (mailbox uuid, username text, home text, script text, hash text, changed_at timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT v.mailbox, a.address, m.home, v.script, v.hash, v.changed_at
    FROM posthorn.sieve v
    JOIN posthorn.mailboxes m ON m.uuid = v.mailbox
    JOIN posthorn.addresses a ON a.mailbox = m.uuid AND a.kind = 'mailbox'
    WHERE m.shard = declared_sieve.shard AND m.deleted_at IS NULL
      AND (declared_sieve.since = '-infinity' AND v.script IS NOT NULL
           OR declared_sieve.since <> '-infinity' AND v.changed_at > declared_sieve.since - interval '20 seconds')
    ORDER BY v.changed_at
$$;

-- Three that write, on the leader. Each writes only what differs.

-- error NULL: it compiled. What is said of another script than the declared one is not heard.
CREATE FUNCTION directory_v1.sieve_result(mailbox uuid, hash text, error text) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE posthorn.sieve v SET result_hash = v.hash, result_error = left(error, 4000), result_at = now()
    WHERE v.mailbox = sieve_result.mailbox AND v.hash = sieve_result.hash
      AND (v.result_hash, v.result_error) IS DISTINCT FROM (v.hash, left(error, 4000))
$$;

CREATE FUNCTION directory_v1.quota_state(mailbox uuid, over boolean) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE posthorn.mailboxes m SET over_quota = coalesce(quota_state.over, false)
    WHERE m.uuid = quota_state.mailbox AND m.over_quota IS DISTINCT FROM coalesce(quota_state.over, false)
$$;

-- until: the account may not send before. One that is open is counted on.
CREATE FUNCTION directory_v1.report_incident(login text, kind text, detail text, until timestamptz) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO posthorn.incidents AS i (mailbox, kind, detail, until)
    SELECT a.mailbox, report_incident.kind, left(report_incident.detail, 4000), report_incident.until
    FROM posthorn.addresses a
    WHERE a.address = rtrim(lower(btrim(report_incident.login) COLLATE "C"), '.') AND a.kind = 'mailbox'
    ON CONFLICT (mailbox, kind) DO UPDATE SET
        detail = excluded.detail, until = excluded.until, reported_at = now(),
        since = CASE WHEN i.until > now() THEN i.since ELSE now() END,
        count = CASE WHEN i.until > now() THEN i.count + 1 ELSE 1 END
$$;

-- No longer called.
DROP FUNCTION posthorn.normalise(text);

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA posthorn, directory_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION directory_v1.credentials(text) TO posthorn_proxy, posthorn_submission;
GRANT EXECUTE ON FUNCTION directory_v1.sending(text), directory_v1.report_incident(text, text, text, timestamptz)
    TO posthorn_submission;
GRANT EXECUTE ON FUNCTION directory_v1.revoked(timestamptz) TO posthorn_proxy, posthorn_submission, posthorn_store;
GRANT EXECUTE ON FUNCTION directory_v1.declared_sieve(text, timestamptz), directory_v1.sieve_result(uuid, text, text),
    directory_v1.quota_state(uuid, boolean) TO posthorn_store;
