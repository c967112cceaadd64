-- What daemons ask, with forwards, states and SRS. It takes the place of most of 0003; the rule stays: a stale member
-- may say yes, never no.
--
-- Mail costs some ten look-ups each. So: only the functions that daemons call set the search path and the owner's
-- rights (inner ones run inside them, and nobody else may call those); an address is one query in one function; whether
-- a member is fresh is asked only when the answer would be a no.

CREATE OR REPLACE FUNCTION posthorn.fresh() RETURNS boolean
    LANGUAGE plpgsql STABLE AS $$
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

-- Rights are not given by a member whose view is older than a minute: who was locked out since must stay out.
CREATE FUNCTION posthorn.require_age(seconds integer) RETURNS void
    LANGUAGE plpgsql STABLE AS $$
DECLARE
    age double precision;
BEGIN
    SELECT abs(extract(epoch FROM clock_timestamp() - h.beat)) INTO age FROM posthorn.heartbeat h;
    IF coalesce(age > seconds, pg_is_in_recovery()) THEN
        RAISE EXCEPTION 'directory is % s old, which is too old to answer this', coalesce(round(age)::text, 'unknown')
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
END
$$;

-- For functions whose empty answer would be a no.
CREATE FUNCTION posthorn.require_fresh(asked text) RETURNS void
    LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF NOT posthorn.fresh() THEN
        RAISE EXCEPTION 'directory is catching up, cannot tell about <%>', posthorn.printable(asked)
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
END
$$;

CREATE FUNCTION posthorn.effective_state(state text, until timestamptz) RETURNS text
    LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN until <= now() THEN 'Active' ELSE state END
$$;

-- Can this local part stand in an address without quotes?
CREATE FUNCTION posthorn.plain(local text) RETURNS boolean
    LANGUAGE sql IMMUTABLE AS $$
    SELECT local ~ '^[^][:space:][:cntrl:]()<>@,;:\\"[]+$'
$$;

-- As Postfix reads it in the result of a map, where commas separate.
CREATE FUNCTION posthorn.quoted(local text, domain text) RETURNS text
    LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN posthorn.plain(local) THEN local ELSE '"' || regexp_replace(local, '([\\"])', '\\\1', 'g') || '"' END
           || '@' || domain
$$;

-- The local part of an address without the quotes that it may have.
CREATE FUNCTION posthorn.unquoted(local text) RETURNS text
    LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN local ~ '^"([^"\\]|\\.)*"$' THEN regexp_replace(substr(local, 2, length(local) - 2), '\\(.)', '\1', 'g')
                ELSE local END
$$;

-- RFC 2104. Not from the extension pgcrypto, which external databases need not have.
CREATE FUNCTION posthorn.hmac_sha256(key bytea, message bytea) RETURNS bytea
    LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    inner_pad bytea := decode(repeat('36', 64), 'hex');
    outer_pad bytea := decode(repeat('5c', 64), 'hex');
BEGIN
    FOR i IN 0 .. length(key) - 1 LOOP
        inner_pad := set_byte(inner_pad, i, get_byte(key, i) # 54);
        outer_pad := set_byte(outer_pad, i, get_byte(key, i) # 92);
    END LOOP;
    RETURN sha256(outer_pad || sha256(inner_pad || message));
END
$$;

-- The Sender Rewriting Scheme: SRS0=HASH=DAY=domain=local for a sender outside, and SRS1=HASH=host=REST for one that
-- is an SRS address elsewhere (REST is what follows SRS0 there). HASH: 40 bits, hexadecimal, of everything behind it in
-- lower case, because mail servers change case. DAY: two letters in base 32, valid for 21 days.
CREATE FUNCTION posthorn.srs_hash(key bytea, signed text) RETURNS text
    LANGUAGE sql IMMUTABLE AS $$
    SELECT left(encode(posthorn.hmac_sha256(key, convert_to(lower(signed COLLATE "C"), 'UTF8')), 'hex'), 10)
$$;

CREATE FUNCTION posthorn.srs_day(day integer) RETURNS text
    LANGUAGE sql IMMUTABLE AS $$
    SELECT substr(letters, (day / 32) % 32 + 1, 1) || substr(letters, day % 32 + 1, 1)
    FROM (VALUES ('abcdefghijklmnopqrstuvwxyz234567')) AS alphabet (letters)
$$;

CREATE FUNCTION posthorn.srs_today() RETURNS integer
    LANGUAGE sql STABLE AS $$
    SELECT floor(extract(epoch FROM now()) / 86400)::integer % 1024
$$;

-- The address that an SRS address stands for; NULL if we have not made it, or too long ago.
CREATE FUNCTION posthorn.srs_original(srs_local text) RETURNS text
    LANGUAGE plpgsql STABLE AS $$
DECLARE
    part     text[];
    original text;
BEGIN
    part := regexp_match(srs_local, '^srs0[-+=]([0-9a-f]{10})=(([a-z2-7]{2})=([^=]+)=(.+))$', 'i');
    IF part IS NOT NULL THEN
        -- Also one day ahead: clocks differ.
        IF lower(part[3]) NOT IN (SELECT posthorn.srs_day((posthorn.srs_today() + 1024 - age) % 1024)
                                  FROM generate_series(-1, 21) age) THEN
            RETURN NULL;
        END IF;
        original := posthorn.quoted(part[5], part[4]);
    ELSE
        part := regexp_match(srs_local, '^srs1[-+=]([0-9a-f]{10})=(([^=]+)=([-+=].+))$', 'i');
        original := posthorn.quoted('SRS0' || part[4], part[3]);
    END IF;
    RETURN (SELECT original FROM posthorn.srs_secrets s
            WHERE posthorn.srs_hash(s.key, part[2]) = lower(part[1]) LIMIT 1);
END
$$;

-- Postfix sender_canonical_maps of the forward role: the envelope sender of what goes outside. NULL (as it is): none,
-- ours, or no address.
CREATE FUNCTION directory_v1.srs_sender(sender text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    from_domain text := lower(split_part(sender, '@', -1) COLLATE "C");
    from_local  text := posthorn.unquoted(left(sender, -length(from_domain) - 1));
    ours        text := (SELECT s.srs_domain FROM posthorn.settings s);
    part        text[];
    signed      text;
    secret      bytea;
BEGIN
    IF from_local = '' OR from_domain !~ '^[[:alnum:]._-]+$' OR from_domain = ours
        OR EXISTS (SELECT FROM posthorn.domains d WHERE d.domain = rtrim(from_domain, '.')) THEN
        RETURN NULL;
    END IF;
    SELECT s.key INTO secret FROM posthorn.srs_secrets s
    ORDER BY s.created_at < now() - interval '1 minute' DESC, s.created_at DESC LIMIT 1;
    IF ours IS NULL OR secret IS NULL THEN
        RAISE EXCEPTION 'directory has no SRS domain, cannot forward for <%>', posthorn.printable(sender)
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF from_local ~* '^srs0[-+=]' THEN
        signed := from_domain || '=' || substr(from_local, 5);
    ELSE
        part := regexp_match(from_local, '^srs1[-+=][^=]*=([^=]+=[-+=].+)$', 'i');
        signed := part[1];
    END IF;
    IF signed IS NOT NULL THEN
        RETURN posthorn.quoted('SRS1=' || posthorn.srs_hash(secret, signed) || '=' || signed, ours);
    END IF;
    signed := posthorn.srs_day(posthorn.srs_today()) || '=' || from_domain || '=' || from_local;
    RETURN posthorn.quoted('SRS0=' || posthorn.srs_hash(secret, signed) || '=' || signed, ours);
END
$$;

-- Who has exactly this address. It becomes part of the query that asks.
CREATE FUNCTION posthorn.holder(wanted text)
    RETURNS TABLE (kind text, address text, mailbox uuid, username text, shard text, forward text, full_ boolean,
                   refused boolean)
    LANGUAGE sql STABLE AS $$
    SELECT a.kind, a.address, a.mailbox, main.address, m.shard, a.forward, m.over_quota,
           m.state = 'Suspended' AND m.suspended_mail = 'Refuse' AND coalesce(m.state_until > now(), true)
    FROM posthorn.addresses a
    LEFT JOIN posthorn.addresses main ON main.mailbox = a.mailbox AND main.kind = 'mailbox'
    LEFT JOIN posthorn.mailboxes m ON m.uuid = a.mailbox
    WHERE a.address = wanted AND a.kind <> 'reserved'
      AND (a.mailbox IS NULL OR (main.mailbox IS NOT NULL AND m.deleted_at IS NULL))
$$;

-- Where an address leads.
CREATE TYPE posthorn.place AS (
    asked     text,    -- the address, normalised; NULL: it is none
    domain    text,
    hosted    boolean, -- the domain is ours
    srs       boolean, -- it is, or pretends to be, an SRS address of ours
    kind      text,    -- mailbox, alias, forward, list, srs; NULL: there is no such address
    address   text,    -- what was found: the address itself, the one without +detail, or *@domain
    mailbox   uuid,
    username  text,    -- main address of the mailbox
    shard     text,
    forward   text,    -- uid of the forward on it
    elsewhere text,    -- an address outside that the mail goes to: a postmaster, or the original sender of an SRS address
    full_     boolean, -- the mailbox is
    refused   boolean  -- mail for it is, because it is suspended
);

-- In this order: the address itself; without its +detail; SRS; postmaster and abuse; the catch-all of the domain.
CREATE FUNCTION posthorn.place(given text) RETURNS posthorn.place
    LANGUAGE plpgsql STABLE AS $$
DECLARE
    p        posthorn.place;
    h        record;
    settings record;
    local_   text;
    base     text;
BEGIN
    p.asked := rtrim(lower(btrim(given) COLLATE "C"), '.');
    p.domain := split_part(p.asked, '@', -1);
    local_ := left(p.asked, -length(p.domain) - 1);
    IF p.domain = '' OR local_ = '' OR local_ IS NULL THEN
        p.asked := NULL;
        RETURN p;
    END IF;
    base := split_part(local_, '+', 1);

    SELECT * INTO h FROM posthorn.holder(p.asked);
    IF NOT FOUND AND base <> local_ AND base <> '' THEN
        SELECT * INTO h FROM posthorn.holder(base || '@' || p.domain);
    END IF;

    IF h.kind IS NULL THEN
        SELECT s.postmaster, s.srs_domain INTO settings FROM posthorn.settings s;
        p.hosted := EXISTS (SELECT FROM posthorn.domains d WHERE d.domain = p.domain);
        IF p.domain = settings.srs_domain AND local_ ~ '^"?srs[01][-+=]' THEN
            p.srs := true;
            p.hosted := true;
            p.elsewhere := posthorn.srs_original(posthorn.unquoted(left(btrim(given), length(local_))));
            p.kind := CASE WHEN p.elsewhere IS NOT NULL THEN 'srs' END;
            RETURN p;
        ELSIF NOT p.hosted THEN
            p.hosted := p.domain IS NOT DISTINCT FROM settings.srs_domain;
            RETURN p;
        ELSIF base IN ('postmaster', 'abuse') THEN
            SELECT * INTO h FROM posthorn.holder(settings.postmaster);
            IF h.kind = 'mailbox' THEN
                h.kind := 'alias';
            ELSIF h.kind IS NULL AND NOT EXISTS
                (SELECT FROM posthorn.domains d WHERE d.domain = split_part(settings.postmaster, '@', -1)) THEN
                p.elsewhere := settings.postmaster;
                h.kind := CASE WHEN p.elsewhere IS NOT NULL THEN 'forward' END;
                h.address := base || '@' || p.domain;
            END IF;
        END IF;
        -- What would need quotes is nobody's name.
        IF h.kind IS NULL AND posthorn.plain(local_) THEN
            SELECT * INTO h FROM posthorn.holder('*@' || p.domain);
        END IF;
    END IF;
    p.hosted := true;
    p.kind := h.kind;
    p.address := h.address;
    p.mailbox := h.mailbox;
    p.username := h.username;
    p.shard := h.shard;
    p.forward := h.forward;
    p.full_ := h.full_;
    p.refused := h.refused;
    RETURN p;
END
$$;

-- The address that mail for this one is for in the end, as far as this system is concerned.
CREATE FUNCTION posthorn.canonical(p posthorn.place) RETURNS text
    LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN p.kind = 'srs' THEN p.elsewhere
                WHEN p.kind IN ('mailbox', 'alias') AND p.forward IS NULL THEN p.username
                WHEN starts_with(p.address, '*@') THEN p.asked
                ELSE p.address END
$$;

CREATE FUNCTION posthorn.verdict(p posthorn.place, given text, outside text) RETURNS text
    LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF p.asked IS NULL THEN
        RETURN NULL;
    ELSIF p.kind IS NOT NULL AND p.full_ IS NOT TRUE AND p.refused IS NOT TRUE THEN
        RETURN 'DUNNO';
    ELSIF NOT p.hosted AND outside = 'DUNNO' THEN
        RETURN outside;
    ELSIF NOT posthorn.fresh() THEN
        RETURN '450 4.3.0 directory is catching up, try again';
    END IF;
    RETURN format(CASE WHEN NOT p.hosted THEN outside
                       WHEN p.refused THEN '550 5.7.1 <%s>: mailbox is not available'
                       WHEN p.full_ THEN '552 5.2.2 <%s>: mailbox is full'
                       WHEN p.srs THEN '550 5.1.1 <%s>: not an address of ours, or expired'
                       ELSE '550 5.1.1 <%s>: no such address here' END, posthorn.printable(given));
END
$$;

-- Postfix check_recipient_access at the mx.
CREATE OR REPLACE FUNCTION directory_v1.rcpt_verdict(address text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN posthorn.verdict(posthorn.place(address), address, '554 5.7.1 <%s>: relay access denied');
EXCEPTION WHEN query_canceled OR OTHERS THEN
    RETURN '450 4.3.0 directory is catching up, try again';
END
$$;

-- The same at submission, where people also write to the outside.
CREATE OR REPLACE FUNCTION directory_v1.submission_rcpt_verdict(address text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN posthorn.verdict(posthorn.place(address), address, 'DUNNO');
EXCEPTION WHEN query_canceled OR OTHERS THEN
    RETURN '450 4.3.0 directory is catching up, try again';
END
$$;

-- The same for the mx's filter, with what the filter needs to know. policy: that of the domain and what the mailbox or
-- forward requires; recipients with the same key have the same policy. Never raises either.
CREATE FUNCTION directory_v1.recipient(
    address text, OUT verdict text, OUT kind text, OUT canonical text, OUT policy_key text, OUT policy jsonb
)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    p      posthorn.place;
    needed jsonb;
BEGIN
    p := posthorn.place(address);
    verdict := posthorn.verdict(p, address, '554 5.7.1 <%s>: relay access denied');
    kind := CASE WHEN p.forward IS NOT NULL THEN 'forward' ELSE coalesce(p.kind, '') END;
    canonical := posthorn.canonical(p);
    policy_key := '';
    IF p.kind IS NOT NULL THEN
        needed := (SELECT f.require FROM posthorn.forwards f WHERE f.uid = p.forward);
        needed := coalesce(needed, (SELECT m.require FROM posthorn.mailboxes m WHERE m.uuid = p.mailbox));
        policy := (SELECT d.filter FROM posthorn.domains d WHERE d.domain = p.domain);
        IF needed IS NOT NULL THEN
            policy := coalesce(policy, '{}') || jsonb_build_object('require', needed);
        END IF;
        policy_key := coalesce(md5(policy::text), '');
    END IF;
EXCEPTION WHEN query_canceled OR OTHERS THEN
    verdict := '450 4.3.0 directory is catching up, try again';
    kind := '';
    policy_key := '';
    policy := NULL;
END
$$;

-- The domain, if it is ours: also the one that SRS addresses lie in, to which bounces come.
CREATE OR REPLACE FUNCTION directory_v1.hosted_domain(domain text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    asked text := rtrim(lower(btrim(domain) COLLATE "C"), '.');
BEGIN
    IF EXISTS (SELECT FROM posthorn.domains d WHERE d.domain = asked)
        OR EXISTS (SELECT FROM posthorn.settings s WHERE s.srs_domain = asked) THEN
        RETURN asked;
    END IF;
    RETURN NULL;
END
$$;

-- Where a forward sends mail now. A webhook or command is RULEUID.N@courier.invalid; one that is not allowed keeps its
-- number, for the others' sake.
CREATE FUNCTION posthorn.destinations(rule text) RETURNS TABLE (destination text, inside boolean)
    LANGUAGE sql STABLE AS $$
    SELECT t, EXISTS (SELECT FROM posthorn.domains d WHERE d.domain = split_part(t, '@', -1))
    FROM posthorn.forwards f CROSS JOIN unnest(f.targets) t WHERE f.uid = rule
    UNION ALL
    SELECT format('%s.%s@courier.invalid', f.uid, n), false
    FROM posthorn.forwards f CROSS JOIN generate_series(0, jsonb_array_length(f.couriers) - 1) n
    WHERE f.uid = rule AND NOT f.couriers -> n ? 'refused'
    UNION ALL
    SELECT main.address, true
    FROM posthorn.forwards f
    JOIN posthorn.mailboxes m ON m.object_namespace = f.object_namespace AND m.object_name = f.keep_copy
    JOIN posthorn.addresses main ON main.mailbox = m.uuid AND main.kind = 'mailbox'
    WHERE f.uid = rule AND m.deleted_at IS NULL
$$;

-- What mail for a forward becomes at the mx: inside destinations, and the forward itself if there are others; that one
-- the forward role expands. A forward on the main address of a mailbox can't be called by its address, since the copy
-- for the mailbox is: it is RULEUID@forward.invalid.
CREATE FUNCTION posthorn.expansion(p posthorn.place) RETURNS text
    LANGUAGE plpgsql STABLE AS $$
DECLARE
    itself text := posthorn.quoted(left(p.asked, -length(p.domain) - 1), p.domain);
BEGIN
    IF p.kind <> 'mailbox' AND posthorn.canonical(p) <> p.asked THEN
        RETURN p.address;  -- without +detail; Postfix asks again
    END IF;
    RETURN (
        SELECT string_agg(DISTINCT CASE
            WHEN NOT inside THEN CASE WHEN p.kind = 'mailbox' THEN p.forward || '@forward.invalid' ELSE itself END
            WHEN p.kind = 'mailbox' AND destination = p.username THEN itself
            ELSE destination END, ',')
        FROM (SELECT * FROM posthorn.destinations(p.forward) UNION ALL SELECT p.username, true) AS all_
        WHERE destination IS NOT NULL
    );
END
$$;

-- Postfix virtual_alias_maps at the mx: only addresses of ours. What a stranger sends leaves through the forward role
-- or not at all, because what leaves the mx otherwise is signed in our name.
-- Asked when mail is accepted: an alias that is not expanded then would wait in the queue as an address that no store
-- knows. Hence the error, which makes Postfix ask the next member or answer 451.
CREATE OR REPLACE FUNCTION directory_v1.alias(address text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    p posthorn.place := posthorn.place(address);
BEGIN
    IF p.forward IS NOT NULL THEN
        RETURN posthorn.expansion(p);
    ELSIF p.kind = 'alias' THEN
        RETURN p.username;
    ELSIF p.hosted AND p.kind IS NULL THEN
        PERFORM posthorn.require_fresh(address);
    END IF;
    RETURN NULL;
END
$$;

-- Postfix transport_maps at the mx.
CREATE OR REPLACE FUNCTION directory_v1.route(address text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    p posthorn.place;
BEGIN
    p := posthorn.place(address);  -- here, so that an error of it is caught
    IF p.elsewhere IS NOT NULL OR p.forward IS NOT NULL AND p.kind <> 'mailbox' OR p.domain = 'forward.invalid' THEN
        RETURN (SELECT coalesce('forward:[' || s.forward_host || ']:10025', 'retry:4.3.0 nothing here forwards mail')
                FROM posthorn.settings s);
    ELSIF p.shard IS NOT NULL THEN
        RETURN (SELECT format('lmtp:inet:%s:%s', s.host, s.lmtp_port) FROM posthorn.shards s WHERE s.name = p.shard);
    ELSIF p.asked IS NULL OR NOT p.hosted OR p.kind IS NOT NULL THEN
        RETURN NULL;
    ELSIF NOT posthorn.fresh() THEN
        RETURN 'retry:4.3.0 directory is catching up';
    END IF;
    RETURN 'error:5.1.1 no such mailbox';
EXCEPTION WHEN query_canceled OR OTHERS THEN
    RETURN 'retry:4.3.0 directory is catching up';
END
$$;

-- What the forward role is asked about: a forward, by its address or by RULEUID@forward.invalid, or another address whose
-- mail goes elsewhere. uid NULL: no forward. address: the one that the mail is for.
CREATE FUNCTION posthorn.forward_of(given text, OUT uid text, OUT address text, OUT elsewhere text)
    LANGUAGE plpgsql STABLE AS $$
DECLARE
    p posthorn.place := posthorn.place(given);
BEGIN
    IF p.domain = 'forward.invalid' THEN
        SELECT a.forward, a.address INTO uid, address
        FROM posthorn.addresses a WHERE a.forward = split_part(p.asked, '@', 1);
    ELSIF p.forward IS NOT NULL OR p.elsewhere IS NOT NULL THEN
        uid := p.forward;
        elsewhere := p.elsewhere;
        address := CASE WHEN p.kind <> 'srs' THEN posthorn.canonical(p) END;
        RETURN;
    END IF;
    IF uid IS NULL AND (p.hosted AND p.kind IS NULL OR p.domain = 'forward.invalid') THEN
        PERFORM posthorn.require_fresh(given);
    END IF;
    IF p.srs AND p.kind IS NULL THEN
        RAISE EXCEPTION '<%> is no address of ours, or expired', posthorn.printable(given)
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
END
$$;

-- Postfix virtual_alias_maps of the forward role: what the mx has left to it. A forward that has nothing outside any
-- more while mail for it is under way sends that inside.
CREATE FUNCTION directory_v1.forward_targets(address text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    f       record;
    targets text;
BEGIN
    f := posthorn.forward_of(address);
    IF f.elsewhere IS NOT NULL OR f.uid IS NULL THEN
        RETURN f.elsewhere;
    END IF;
    SELECT coalesce(string_agg(DISTINCT d.destination, ',') FILTER (WHERE NOT d.inside),
                    string_agg(DISTINCT d.destination, ','))
    INTO targets FROM posthorn.destinations(f.uid) d;
    IF targets IS NULL THEN
        RAISE EXCEPTION 'forward <%> has no target', posthorn.printable(address)
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RETURN targets;
END
$$;

-- What the forward role puts into Delivered-To, by which loops are found.
CREATE FUNCTION directory_v1.delivered_to(address text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (posthorn.forward_of(address)).address;
END
$$;

-- What RULEUID.N@courier.invalid stands for.
CREATE FUNCTION directory_v1.courier_target(token text) RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    part   text[] := regexp_match(token, '^(.+)\.([0-9]{1,4})$');
    target jsonb;
BEGIN
    SELECT jsonb_build_object(
        'rule', jsonb_build_object('namespace', f.object_namespace, 'name', f.object_name, 'uid', f.uid),
        'address', a.address, 'target', f.couriers -> part[2]::integer)
    INTO target
    FROM posthorn.forwards f JOIN posthorn.addresses a ON a.forward = f.uid
    WHERE f.uid = part[1] AND part[2]::integer < jsonb_array_length(f.couriers);
    IF target IS NULL THEN
        PERFORM posthorn.require_fresh(token);
    END IF;
    RETURN target;
END
$$;

-- Postfix smtpd_sender_login_maps: who may have this envelope sender? The owner of the address, members of a shared
-- mailbox that may send as it, whom a forward lets; nobody while the mailbox is suspended.
CREATE OR REPLACE FUNCTION directory_v1.sender_logins(address text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    p      posthorn.place := posthorn.place(address);
    logins text;
BEGIN
    IF p.kind IS NULL OR p.kind = 'srs' THEN
        IF p.hosted AND p.srs IS NOT TRUE THEN
            PERFORM posthorn.require_fresh(address);
        END IF;
        RETURN NULL;
    END IF;
    SELECT string_agg(DISTINCT may.username, ',') INTO logins
    FROM (
        SELECT p.username
        UNION ALL
        SELECT main.address
        FROM posthorn.members s
        JOIN posthorn.mailboxes m ON m.object_namespace = s.namespace AND m.object_name = s.member
        JOIN posthorn.addresses main ON main.mailbox = m.uuid AND main.kind = 'mailbox'
        WHERE s.mailbox = p.mailbox AND s.send_as AND m.deleted_at IS NULL
        UNION ALL
        SELECT main.address
        FROM posthorn.forwards f
        JOIN posthorn.mailboxes m ON m.object_namespace = f.object_namespace AND m.object_name = f.send_as
        JOIN posthorn.addresses main ON main.mailbox = m.uuid AND main.kind = 'mailbox'
        WHERE f.uid = p.forward AND m.deleted_at IS NULL
    ) AS may (username)
    WHERE NOT EXISTS (SELECT FROM posthorn.mailboxes m WHERE m.uuid = p.mailbox
                      AND posthorn.effective_state(m.state, m.state_until) = 'Suspended');
    RETURN logins;
END
$$;

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

-- The store's view of a mailbox; what is new is at the end.
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
        ) AS shared
    FROM posthorn.addresses a
    JOIN posthorn.mailboxes m ON m.uuid = a.mailbox
    WHERE a.kind = 'mailbox' AND m.deleted_at IS NULL;

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
DROP FUNCTION posthorn.resolve(text), posthorn.find(text);

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA posthorn, directory_v1 FROM PUBLIC;
REVOKE ALL ON TYPE posthorn.place FROM PUBLIC;
GRANT EXECUTE ON FUNCTION directory_v1.recipient(text) TO posthorn_mx, posthorn_submission;
GRANT EXECUTE ON FUNCTION directory_v1.forward_targets(text), directory_v1.delivered_to(text),
    directory_v1.srs_sender(text), directory_v1.hosted_domain(text) TO posthorn_forward;
GRANT EXECUTE ON FUNCTION directory_v1.courier_target(text) TO posthorn_courier;
GRANT EXECUTE ON FUNCTION directory_v1.credentials(text) TO posthorn_proxy, posthorn_submission;
GRANT EXECUTE ON FUNCTION directory_v1.sending(text), directory_v1.report_incident(text, text, text, timestamptz)
    TO posthorn_submission;
GRANT EXECUTE ON FUNCTION directory_v1.revoked(timestamptz) TO posthorn_proxy, posthorn_submission, posthorn_store;
GRANT EXECUTE ON FUNCTION directory_v1.declared_sieve(text, timestamptz), directory_v1.sieve_result(uuid, text, text),
    directory_v1.quota_state(uuid, boolean) TO posthorn_store;
