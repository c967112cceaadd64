-- Where an address leads, with forwards, catch-alls and SRS: what the functions of 0008 and 0009 build on, which take the
-- place of most of 0003. The rule stays: a stale member may say yes, never no.
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

-- In a domain that is no domain (RFC 2606). Some names there mean something to our own roles: nobody else gives them.
CREATE FUNCTION posthorn.invalid(address text) RETURNS boolean
    LANGUAGE sql IMMUTABLE AS $$
    SELECT address ~* '[@.]invalid[.[:space:]]*$'
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
            WHERE posthorn.srs_hash(s.key, part[2]) = lower(part[1]) AND NOT posthorn.invalid(original) LIMIT 1);
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
-- That it is the catch-all's says that nobody else has it, which is a no: a member that isn't fresh raises instead.
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
                p.elsewhere := CASE WHEN NOT posthorn.invalid(settings.postmaster) THEN settings.postmaster END;
                h.kind := CASE WHEN p.elsewhere IS NOT NULL THEN 'forward' END;
                h.address := base || '@' || p.domain;
            END IF;
        END IF;
        -- What would need quotes is nobody's name.
        IF h.kind IS NULL AND posthorn.plain(local_) THEN
            SELECT * INTO h FROM posthorn.holder('*@' || p.domain);
            IF h.kind IS NOT NULL THEN
                PERFORM posthorn.require_fresh(given);
            END IF;
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

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA posthorn FROM PUBLIC;
REVOKE ALL ON TYPE posthorn.place FROM PUBLIC;
