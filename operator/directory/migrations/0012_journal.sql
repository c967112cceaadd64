-- The journal of revocations writes itself, whoever changes what: the operator, or an administrator by hand.
CREATE FUNCTION posthorn.revoke_mailbox(revoked uuid, itself boolean, members boolean) RETURNS void
    LANGUAGE sql VOLATILE AS $$
    INSERT INTO posthorn.revocations (username)
    SELECT a.address FROM posthorn.addresses a WHERE itself AND a.mailbox = revoked AND a.kind = 'mailbox'
    UNION
    SELECT a.address
    FROM posthorn.members s
    JOIN posthorn.mailboxes m ON m.object_namespace = s.namespace AND m.object_name = s.member AND m.deleted_at IS NULL
    JOIN posthorn.addresses a ON a.mailbox = m.uuid AND a.kind = 'mailbox'
    WHERE members AND s.mailbox = revoked
$$;

CREATE FUNCTION posthorn.revoke_on_mailbox() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Of a deleted mailbox the address is deleted, too.
    PERFORM posthorn.revoke_mailbox(NEW.uuid, NEW.deleted_at IS NULL,
        (NEW.state, NEW.state_until, NEW.deleted_at) IS DISTINCT FROM (OLD.state, OLD.state_until, OLD.deleted_at));
    RETURN NULL;
END
$$;
CREATE TRIGGER revoke AFTER UPDATE OF state, state_until, password, ldap_user, deleted_at ON posthorn.mailboxes
    FOR EACH ROW WHEN (
        OLD.deleted_at IS NULL AND (
            NEW.deleted_at IS NOT NULL
            OR OLD.password <> coalesce(NEW.password, '') OR OLD.ldap_user <> coalesce(NEW.ldap_user, '')
            OR (NEW.state <> 'Active' AND (NEW.state, NEW.state_until) IS DISTINCT FROM (OLD.state, OLD.state_until))))
    EXECUTE FUNCTION posthorn.revoke_on_mailbox();

CREATE FUNCTION posthorn.revoke_on_address() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO posthorn.revocations (username) VALUES (OLD.address);
    RETURN NULL;
END
$$;
CREATE TRIGGER revoke_deleted AFTER DELETE ON posthorn.addresses
    FOR EACH ROW WHEN (OLD.kind = 'mailbox') EXECUTE FUNCTION posthorn.revoke_on_address();
CREATE TRIGGER revoke_moved AFTER UPDATE OF kind, mailbox ON posthorn.addresses
    FOR EACH ROW WHEN (OLD.kind = 'mailbox' AND (NEW.kind, NEW.mailbox) IS DISTINCT FROM (OLD.kind, OLD.mailbox))
    EXECUTE FUNCTION posthorn.revoke_on_address();

CREATE FUNCTION posthorn.revoke_on_app_password() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM posthorn.revoke_mailbox(OLD.mailbox, true, false);
    RETURN NULL;
END
$$;
CREATE TRIGGER revoke_deleted AFTER DELETE ON posthorn.app_passwords
    FOR EACH ROW EXECUTE FUNCTION posthorn.revoke_on_app_password();
CREATE TRIGGER revoke_changed AFTER UPDATE ON posthorn.app_passwords
    FOR EACH ROW WHEN ((NEW.hash, NEW.protocols) IS DISTINCT FROM (OLD.hash, OLD.protocols))
    EXECUTE FUNCTION posthorn.revoke_on_app_password();

CREATE FUNCTION posthorn.revoke_on_member() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO posthorn.revocations (username)
    SELECT a.address FROM posthorn.mailboxes m JOIN posthorn.addresses a ON a.mailbox = m.uuid AND a.kind = 'mailbox'
    WHERE m.object_namespace = OLD.namespace AND m.object_name = OLD.member AND m.deleted_at IS NULL;
    RETURN NULL;
END
$$;
CREATE TRIGGER revoke_deleted AFTER DELETE ON posthorn.members
    FOR EACH ROW EXECUTE FUNCTION posthorn.revoke_on_member();
CREATE TRIGGER revoke_changed AFTER UPDATE ON posthorn.members
    FOR EACH ROW WHEN ((NEW.namespace, NEW.rights) IS DISTINCT FROM (OLD.namespace, OLD.rights))
    EXECUTE FUNCTION posthorn.revoke_on_member();

-- What is due: a new SRS key, and old journal entries to remove. Returns whether there is a new key.
-- The key is made here, so that it is in no statement and no log.
CREATE FUNCTION posthorn.maintain(rotate_after interval) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    rotated boolean;
BEGIN
    INSERT INTO posthorn.srs_secrets (key)
    SELECT sha256(string_agg(uuid_send(gen_random_uuid()), '')) FROM generate_series(1, 4)
    HAVING NOT EXISTS (SELECT FROM posthorn.srs_secrets WHERE created_at > now() - rotate_after);
    rotated := FOUND;
    DELETE FROM posthorn.srs_secrets s WHERE EXISTS (
        SELECT FROM posthorn.srs_secrets n WHERE n.created_at > s.created_at AND n.created_at < now() - interval '23 days');
    DELETE FROM posthorn.revocations WHERE at < now() - interval '1 day';
    DELETE FROM posthorn.incidents WHERE greatest(reported_at, until) < now() - interval '7 days';
    RETURN rotated;
END
$$;
SELECT posthorn.maintain(interval '90 days');

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA posthorn FROM PUBLIC;
