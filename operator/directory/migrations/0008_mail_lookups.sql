-- What the roles of Postfix and the courier ask about addresses: verdicts, aliases, routes, forwards, senders.

-- What is said of a recipient. outside: what, if the domain isn't ours.
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

-- What two require of senders, together: domains that both take (a domain takes those below it), and the stricter answer
-- to others. Perhaps no domain at all.
CREATE FUNCTION posthorn.both(one jsonb, other jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_build_object(
        'from', (SELECT coalesce(jsonb_agg(DISTINCT CASE WHEN length(a) > length(b) THEN a ELSE b END), '[]')
                 FROM jsonb_array_elements_text(one -> 'from') a CROSS JOIN jsonb_array_elements_text(other -> 'from') b
                 WHERE right('.' || a, length(b) + 1) = '.' || b OR right('.' || b, length(a) + 1) = '.' || a),
        'otherwise', CASE WHEN 'Reject' IN (one ->> 'otherwise', other ->> 'otherwise') THEN 'Reject' ELSE 'Tag' END)
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
    also   jsonb;
BEGIN
    p := posthorn.place(address);
    verdict := posthorn.verdict(p, address, '554 5.7.1 <%s>: relay access denied');
    kind := CASE WHEN p.forward IS NOT NULL THEN 'forward' ELSE coalesce(p.kind, '') END;
    canonical := posthorn.canonical(p);
    policy_key := '';
    IF p.kind IS NOT NULL THEN
        needed := (SELECT f.require FROM posthorn.forwards f WHERE f.uid = p.forward);
        also := (SELECT m.require FROM posthorn.mailboxes m WHERE m.uuid = p.mailbox);
        needed := CASE WHEN needed IS NULL OR also IS NULL THEN coalesce(needed, also) ELSE posthorn.both(needed, also) END;
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
    FROM posthorn.forwards f CROSS JOIN unnest(f.targets) t WHERE f.uid = rule AND NOT posthorn.invalid(t)
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
    ELSIF p.kind IS NULL AND p.domain <> 'forward.invalid' THEN
        PERFORM posthorn.require_fresh(address);
    END IF;
    RETURN NULL;
END
$$;

-- Postfix transport_maps at the mx. That a domain is not ours is a no as well: mail for it leaves signed.
-- It is asked about an alias only if that was none when alias() was asked: the mail has
-- waited meanwhile. The forward role, to which it means nothing, gives it to egress, which gives it to the mx: it is
-- expanded anew, where no store would ever have taken it. Only a fresh member sends mail on this way round.
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
        RETURN (SELECT format('lmtp:inet:%s:%s', s.host, s.lmtp_port) FROM posthorn.shards s WHERE s.name = p.shard);
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

-- What the forward role is asked about: a forward, by its address or by RULEUID@forward.invalid, or another address whose
-- mail goes elsewhere.
-- address: the one that the mail is for. targets: where it goes. NULL: it stays as it is and goes back to the mx, which
-- expands all of it: what is asked about isn't, or is no longer, a forward to the outside. Only what is fresh says that,
-- or mail would go in a circle. trouble: why it has to wait instead.
CREATE FUNCTION posthorn.forward_of(given text, OUT address text, OUT targets text, OUT trouble text)
    LANGUAGE plpgsql STABLE AS $$
DECLARE
    p         posthorn.place := posthorn.place(given);
    rule      text;     -- if its name was given
    somewhere boolean;
BEGIN
    IF p.domain = 'forward.invalid' THEN
        rule := left(p.asked, -length('@forward.invalid'));
        p := posthorn.place((SELECT a.address FROM posthorn.addresses a WHERE a.forward = rule));
        IF p.forward IS DISTINCT FROM rule THEN
            p := NULL;
        END IF;
    END IF;
    address := CASE WHEN p.forward IS NOT NULL OR p.kind = 'forward' THEN posthorn.canonical(p) END;
    targets := p.elsewhere;
    IF p.forward IS NOT NULL THEN
        SELECT string_agg(DISTINCT d.destination, ',') FILTER (WHERE NOT d.inside),
               count(*) > 0 OR p.username IS NOT NULL
        INTO targets, somewhere FROM posthorn.destinations(p.forward) d;
    END IF;

    IF targets IS NULL AND (p.hosted OR rule IS NOT NULL) THEN
        PERFORM posthorn.require_fresh(given);
        trouble := CASE WHEN p.srs THEN 'no address of ours, or expired'
                        WHEN rule IS NOT NULL AND p.forward IS NULL THEN 'this forward is gone'
                        WHEN NOT somewhere OR rule IS NOT NULL AND starts_with(p.asked, '*@')
                        THEN 'this forward has no target' END;
        IF rule IS NOT NULL AND trouble IS NULL THEN
            targets := posthorn.quoted(left(p.asked, -length(p.domain) - 1), p.domain);
        END IF;
    END IF;
END
$$;

-- Postfix virtual_alias_maps of the forward role: what the mx has left to it. Postfix asks about each result again.
CREATE FUNCTION directory_v1.forward_targets(address text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    f record := posthorn.forward_of(address);
BEGIN
    IF f.trouble IS NOT NULL THEN
        RAISE EXCEPTION '<%>: %', posthorn.printable(address), f.trouble
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RETURN f.targets;
END
$$;

-- What the forward role puts into Delivered-To, by which loops are found; or the reply that puts the mail off, at RCPT,
-- when forward_targets would raise for good: to Postfix that is a host that has failed, for everybody's mail.
CREATE FUNCTION directory_v1.delivered_to(address text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    f record := posthorn.forward_of(address);
BEGIN
    RETURN coalesce('450 4.3.0 <' || posthorn.printable(address) || '>: ' || f.trouble, f.address);
END
$$;

-- What RULEUID.N@courier.invalid stands for; NULL: nothing ever. For what is gone it raises: that mail waits.
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
    IF target IS NULL AND part IS NOT NULL THEN
        PERFORM posthorn.require_fresh(token);
        RAISE EXCEPTION '<%>: this target, or its forward, is gone', posthorn.printable(token)
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RETURN target;
END
$$;

-- Postfix smtpd_sender_login_maps: who may have this envelope sender? The owner of the address, members of a shared
-- mailbox that may send as it, whom a forward lets; nobody while the mailbox is suspended. It is a right.
CREATE OR REPLACE FUNCTION directory_v1.sender_logins(address text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    p      posthorn.place;
    logins text;
BEGIN
    PERFORM posthorn.require_age(60);
    p := posthorn.place(address);
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

-- Postfix sender_canonical_maps of the forward role: the envelope sender of what goes outside. NULL (as it is): none,
-- ours, or no address. Raises for an address that would come back to a webhook of ours.
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
    IF posthorn.invalid(sender) THEN
        RAISE EXCEPTION '<%> is not a sender', posthorn.printable(sender)
            USING ERRCODE = 'object_not_in_prerequisite_state';
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

-- No longer called.
DROP FUNCTION posthorn.resolve(text), posthorn.find(text);

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA posthorn, directory_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION directory_v1.recipient(text) TO posthorn_mx, posthorn_submission;
GRANT EXECUTE ON FUNCTION directory_v1.forward_targets(text), directory_v1.delivered_to(text),
    directory_v1.srs_sender(text), directory_v1.hosted_domain(text) TO posthorn_forward;
GRANT EXECUTE ON FUNCTION directory_v1.courier_target(text) TO posthorn_courier;
