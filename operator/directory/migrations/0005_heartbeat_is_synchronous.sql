-- The heartbeat's commit waits for the synchronous replica, whatever the caller's session says. A leader that was
-- frozen and replaced has no such replica any more when it wakes: its own beat must not make it look fresh to those
-- who still ask it. (Its commit is not seen by anybody, the leader included, before it is confirmed.)
CREATE OR REPLACE FUNCTION directory_v1.heartbeat() RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF pg_is_in_recovery() THEN
        RETURN;
    END IF;
    PERFORM set_config('synchronous_commit', 'on', true);
    UPDATE posthorn.heartbeat SET beat = clock_timestamp();
    IF NOT FOUND THEN
        INSERT INTO posthorn.heartbeat (beat) VALUES (clock_timestamp()) ON CONFLICT DO NOTHING;
    END IF;
END
$$;
