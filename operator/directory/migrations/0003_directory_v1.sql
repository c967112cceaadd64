-- What daemons read. docs/reference/directory.md describes each object for an administrator.
--
-- "A stale member may say yes, never no": an address that is not found is refused only by a member that is
-- known to be fresh. Functions that can say "defer" in their answer never raise: Postfix would mark the
-- database host as down. Those that cannot (alias, sender_logins, hosted_domain, login) let an error through,
-- because an empty answer would be a "no": their caller then asks the next member or fails temporarily.
--
-- All run with the owner's rights and a fixed search path.

-- Is this member's view young enough to say that something does not exist?
-- A replica: the heartbeat is younger than 5 s (and not more than 2 s in the future, or its clock is behind and
-- would call an old view fresh). The leader's view is the truth, also when nobody writes the heartbeat; but one
-- whose heartbeat stopped a short while ago may have been frozen and replaced, so for a minute it defers too.
CREATE FUNCTION posthorn.fresh() RETURNS boolean
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    age double precision;
BEGIN
    SELECT extract(epoch FROM clock_timestamp() - h.beat) INTO age FROM posthorn.heartbeat h;
    IF pg_is_in_recovery() THEN
        RETURN coalesce(age > -2 AND age < 5, false);
    END IF;
    RETURN coalesce(age < 5 OR age > 60, true);
END
$$;

-- Lower case, no surrounding space, no trailing dot. NULL unless it is local@domain.
CREATE FUNCTION posthorn.normalise(address text) RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN a ~ '^.+@[^@]+$' THEN a END
    FROM (SELECT rtrim(lower(btrim(address) COLLATE "C"), '.') AS a)
$$;

-- Where an address leads. hosted: the domain is ours. kind NULL: no such address. For mailboxes and aliases,
-- username is the mailbox's canonical address; an alias whose mailbox has no address is no address.
-- external: the postmaster of this system is an address elsewhere.
CREATE FUNCTION posthorn.resolve(
    given text,
    OUT hosted boolean, OUT kind text, OUT username text, OUT mailbox uuid, OUT shard text, OUT external text
)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    whole      text := posthorn.normalise(given);
    domain_    text := substring(whole FROM '[^@]+$');
    local_     text := left(whole, length(whole) - length(domain_) - 1);
    base       text := split_part(local_, '+', 1);
    postmaster text;
BEGIN
    hosted := EXISTS (SELECT FROM posthorn.domains d WHERE d.domain = domain_);
    IF NOT hosted THEN
        RETURN;
    END IF;
    SELECT f.kind, f.username, f.mailbox, f.shard INTO kind, username, mailbox, shard FROM posthorn.find(whole) f;
    IF kind IS NULL AND base <> local_ AND base <> '' THEN
        SELECT f.kind, f.username, f.mailbox, f.shard INTO kind, username, mailbox, shard
        FROM posthorn.find(base || '@' || domain_) f;
    END IF;
    IF kind IS NULL AND base IN ('postmaster', 'abuse') THEN
        SELECT s.postmaster INTO postmaster FROM posthorn.settings s;
        SELECT 'alias', f.username, f.mailbox, f.shard INTO kind, username, mailbox, shard
        FROM posthorn.find(postmaster) f WHERE f.mailbox IS NOT NULL;
        IF kind IS NULL AND NOT EXISTS
            (SELECT FROM posthorn.domains d WHERE d.domain = substring(postmaster FROM '[^@]+$')) THEN
            external := postmaster;
            kind := CASE WHEN postmaster IS NOT NULL THEN 'alias' END;
        END IF;
    END IF;
END
$$;

-- The owner of exactly this address.
CREATE FUNCTION posthorn.find(wanted text) RETURNS TABLE (kind text, username text, mailbox uuid, shard text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT a.kind, p.address, p.mailbox, m.shard
    FROM posthorn.addresses a
    LEFT JOIN posthorn.addresses p ON p.mailbox = a.mailbox AND p.kind = 'mailbox'
    LEFT JOIN posthorn.mailboxes m ON m.uuid = p.mailbox
    WHERE a.address = wanted AND a.kind <> 'reserved'
      AND (a.mailbox IS NULL OR (p.mailbox IS NOT NULL AND m.deleted_at IS NULL))
$$;

-- As text in an SMTP reply: no control characters, a bounded length.
CREATE FUNCTION posthorn.printable(given text) RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT left(regexp_replace(btrim(given), '[^\x20-\x7e]', '?', 'g'), 256)
$$;

-- Postfix check_recipient_access at the mx.
CREATE FUNCTION directory_v1.rcpt_verdict(address text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found record;
BEGIN
    IF posthorn.normalise(address) IS NULL THEN
        RETURN NULL;
    END IF;
    found := posthorn.resolve(address);
    IF found.kind IS NOT NULL THEN
        RETURN 'DUNNO';
    ELSIF NOT posthorn.fresh() THEN
        RETURN '450 4.3.0 directory is catching up, try again';
    ELSIF found.hosted THEN
        RETURN format('550 5.1.1 <%s>: no such address here', posthorn.printable(address));
    END IF;
    RETURN format('554 5.7.1 <%s>: relay access denied', posthorn.printable(address));
EXCEPTION WHEN query_canceled OR OTHERS THEN
    RETURN '450 4.3.0 directory is catching up, try again';
END
$$;

-- The same at submission, where people also write to the outside.
CREATE FUNCTION directory_v1.submission_rcpt_verdict(address text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found record;
BEGIN
    IF posthorn.normalise(address) IS NULL THEN
        RETURN NULL;
    END IF;
    found := posthorn.resolve(address);
    IF found.kind IS NOT NULL OR NOT found.hosted THEN
        RETURN 'DUNNO';
    ELSIF NOT posthorn.fresh() THEN
        RETURN '450 4.3.0 directory is catching up, try again';
    END IF;
    RETURN format('550 5.1.1 <%s>: no such address here', posthorn.printable(address));
EXCEPTION WHEN query_canceled OR OTHERS THEN
    RETURN '450 4.3.0 directory is catching up, try again';
END
$$;

-- The domain, if it is ours.
CREATE FUNCTION directory_v1.hosted_domain(domain text) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT d.domain FROM posthorn.domains d
    WHERE d.domain = rtrim(lower(btrim(hosted_domain.domain) COLLATE "C"), '.')
$$;

-- Postfix virtual_alias_maps. Asked once, when mail is accepted: an alias that is not expanded then would wait
-- in the queue as an address that no store knows. Hence the error, which makes Postfix ask the next member or
-- answer 451.
CREATE FUNCTION directory_v1.alias(address text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found record;
BEGIN
    IF posthorn.normalise(address) IS NULL THEN
        RETURN NULL;
    END IF;
    found := posthorn.resolve(address);
    IF found.kind = 'alias' THEN
        RETURN coalesce(found.external, found.username);
    ELSIF found.hosted AND found.kind IS NULL AND NOT posthorn.fresh() THEN
        RAISE EXCEPTION 'directory is catching up, cannot tell whether <%> is an alias', posthorn.printable(address)
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RETURN NULL;
END
$$;

-- Postfix transport_maps at the mx.
CREATE FUNCTION directory_v1.route(address text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found record;
BEGIN
    IF posthorn.normalise(address) IS NULL THEN
        RETURN NULL;
    END IF;
    found := posthorn.resolve(address);
    IF found.shard IS NOT NULL THEN
        RETURN (SELECT format('lmtp:inet:%s:%s', s.host, s.lmtp_port) FROM posthorn.shards s WHERE s.name = found.shard);
    ELSIF NOT found.hosted OR found.kind IS NOT NULL THEN
        RETURN NULL;
    ELSIF NOT posthorn.fresh() THEN
        RETURN 'retry:4.3.0 directory is catching up';
    END IF;
    RETURN 'error:5.1.1 no such mailbox';
EXCEPTION WHEN query_canceled OR OTHERS THEN
    RETURN 'retry:4.3.0 directory is catching up';
END
$$;

-- Postfix smtpd_sender_login_maps: whose envelope sender is it?
CREATE FUNCTION directory_v1.sender_logins(address text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF posthorn.normalise(address) IS NULL THEN
        RETURN NULL;
    END IF;
    RETURN (SELECT r.username FROM posthorn.resolve(address) r);
END
$$;

-- Dovecot passdb of the proxy and of submission. Only the canonical address logs in.
CREATE FUNCTION directory_v1.login(login text)
    RETURNS TABLE (username text, password text, shard text, host text, imap_port integer, sieve_port integer)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT a.address, m.password, s.name, s.host, s.imap_port, s.sieve_port
    FROM posthorn.addresses a
    JOIN posthorn.mailboxes m ON m.uuid = a.mailbox
    JOIN posthorn.shards s ON s.name = m.shard
    WHERE a.address = posthorn.normalise(login.login) AND a.kind = 'mailbox'
      AND m.deleted_at IS NULL AND m.password IS NOT NULL
$$;

-- Dovecot userdb of the store.
CREATE VIEW directory_v1.userdb AS
    SELECT a.address AS username, m.uuid, m.home, m.shard, m.quota_bytes
    FROM posthorn.addresses a
    JOIN posthorn.mailboxes m ON m.uuid = a.mailbox
    WHERE a.kind = 'mailbox' AND m.deleted_at IS NULL;

-- Mailboxes whose data the store should remove now. Destroying is for the leader to decide, and only while its
-- heartbeat beats: everybody else answers with nothing.
CREATE FUNCTION directory_v1.purgeable(shard text) RETURNS TABLE (uuid uuid, home text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT m.uuid, m.home
    FROM posthorn.mailboxes m
    WHERE m.shard = purgeable.shard AND m.purge_after < now() AND m.deleted_at IS NOT NULL
      AND NOT pg_is_in_recovery()
      AND EXISTS (SELECT FROM posthorn.heartbeat h
                  WHERE clock_timestamp() - h.beat BETWEEN interval '-2 seconds' AND interval '5 seconds')
$$;

-- The store has removed the data. Acknowledging twice, or a mailbox that must not be purged, does nothing.
CREATE FUNCTION directory_v1.purged(uuid uuid) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM posthorn.mailboxes m
    WHERE m.uuid = purged.uuid AND m.deleted_at IS NOT NULL AND m.purge_after < now()
$$;

-- Once a second on the leader. Its commit waits for the synchronous replica like any other (do not turn
-- synchronous_commit off for it): a leader that has been cut off stops looking fresh.
CREATE FUNCTION directory_v1.heartbeat() RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF pg_is_in_recovery() THEN
        RETURN;
    END IF;
    UPDATE posthorn.heartbeat SET beat = clock_timestamp();
    IF NOT FOUND THEN
        INSERT INTO posthorn.heartbeat (beat) VALUES (clock_timestamp()) ON CONFLICT DO NOTHING;
    END IF;
END
$$;

-- Stated again for servers whose default privileges were changed by hand.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA posthorn, directory_v1 FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA directory_v1 FROM PUBLIC;

GRANT EXECUTE ON FUNCTION directory_v1.rcpt_verdict(text), directory_v1.alias(text), directory_v1.route(text)
    TO posthorn_mx;
GRANT EXECUTE ON FUNCTION directory_v1.submission_rcpt_verdict(text), directory_v1.sender_logins(text)
    TO posthorn_submission;
GRANT EXECUTE ON FUNCTION directory_v1.hosted_domain(text) TO posthorn_mx, posthorn_submission, posthorn_egress;
GRANT EXECUTE ON FUNCTION directory_v1.login(text) TO posthorn_proxy, posthorn_submission;
GRANT SELECT ON directory_v1.userdb TO posthorn_store;
GRANT EXECUTE ON FUNCTION directory_v1.purgeable(text), directory_v1.purged(uuid) TO posthorn_store;
GRANT EXECUTE ON FUNCTION directory_v1.heartbeat() TO posthorn_heartbeat;
