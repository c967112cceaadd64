-- One role per kind of daemon. They log in with a client certificate whose common name is the role's, so none
-- has a password. Roles belong to the whole server: one that is there already is kept.

DO $$
DECLARE
    daemon text;
BEGIN
    FOREACH daemon IN ARRAY ARRAY['posthorn_mx', 'posthorn_submission', 'posthorn_egress', 'posthorn_proxy',
                                  'posthorn_store', 'posthorn_heartbeat'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = daemon) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', daemon);
        END IF;
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), daemon);
    END LOOP;
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
END
$$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
REVOKE ALL ON SCHEMA posthorn FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA posthorn FROM PUBLIC;
-- Functions are executable by everybody unless this is said before they are made.
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

CREATE SCHEMA directory_v1;
REVOKE ALL ON SCHEMA directory_v1 FROM PUBLIC;
GRANT USAGE ON SCHEMA directory_v1 TO
    posthorn_mx, posthorn_submission, posthorn_egress, posthorn_proxy, posthorn_store, posthorn_heartbeat;
