-- How mailboxes move between shards, and what has to go from which volume. The operator starts and cancels moves;
-- the primary of the shard that a mailbox comes from makes them, step by step, and nobody else can while it has the lease.

-- Of the shard's volumes, this mailbox has to go.
CREATE FUNCTION posthorn.bury(buried uuid, place text, whom integer[]) RETURNS void
    LANGUAGE sql VOLATILE AS $$
    INSERT INTO posthorn.tombstones AS t (shard, mailbox, waiting) VALUES (place, buried, whom)
    ON CONFLICT (shard, mailbox) DO UPDATE SET waiting = excluded.waiting, at = excluded.at
$$;

CREATE FUNCTION posthorn.members_of(asked text) RETURNS integer[]
    LANGUAGE sql STABLE AS $$
    SELECT coalesce(array_agg(h.member ORDER BY h.member), '{0}') FROM posthorn.shard_members h WHERE h.shard = asked
$$;

-- The primary has removed it before it said so; the others follow.
CREATE FUNCTION posthorn.bury_purged() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM posthorn.bury(OLD.uuid, OLD.shard, array_remove(posthorn.members_of(OLD.shard),
        (SELECT coalesce(s.primary_member, 0) FROM posthorn.shards s WHERE s.name = OLD.shard)));
    RETURN NULL;
END
$$;
CREATE TRIGGER bury AFTER DELETE ON posthorn.mailboxes
    FOR EACH ROW WHEN (OLD.deleted_at IS NOT NULL) EXECUTE FUNCTION posthorn.bury_purged();

-- A move that is over leaves a copy where the mailbox doesn't live.
CREATE FUNCTION posthorn.bury_copy() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    left_on text := CASE NEW.phase WHEN 'done' THEN NEW.from_shard ELSE NEW.to_shard END;
BEGIN
    PERFORM posthorn.bury(NEW.mailbox, left_on, posthorn.members_of(left_on));
    RETURN NULL;
END
$$;
CREATE TRIGGER bury AFTER UPDATE OF phase ON posthorn.moves
    FOR EACH ROW WHEN (NEW.phase IN ('done', 'failed') AND OLD.phase NOT IN ('done', 'failed'))
    EXECUTE FUNCTION posthorn.bury_copy();

-- Who is deleted doesn't move any further.
CREATE FUNCTION posthorn.end_move() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE posthorn.moves v
    SET phase = CASE v.phase WHEN 'settling' THEN 'done' ELSE 'failed' END, phase_at = clock_timestamp(),
        report = v.report || '{"message": "the mailbox was deleted"}'
    WHERE v.mailbox = NEW.uuid AND v.phase NOT IN ('done', 'failed');
    RETURN NULL;
END
$$;
CREATE TRIGGER end_move AFTER UPDATE OF deleted_at ON posthorn.mailboxes
    FOR EACH ROW WHEN (OLD.deleted_at IS NULL AND NEW.deleted_at IS NOT NULL) EXECUTE FUNCTION posthorn.end_move();

-- For the operator. Why a mailbox cannot move now; NULL: its move has begun, or had before.
-- What an earlier stay there has left must be gone from all volumes first: dsync would bring old mail back to life.
CREATE FUNCTION posthorn.start_move(moved uuid, target text, object text) RETURNS text
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    m      posthorn.mailboxes;
    active posthorn.moves;
BEGIN
    SELECT * INTO m FROM posthorn.mailboxes WHERE uuid = moved AND deleted_at IS NULL FOR NO KEY UPDATE;
    SELECT * INTO active FROM posthorn.moves WHERE mailbox = moved AND phase NOT IN ('done', 'failed');
    IF active.to_shard = target AND active.object_uid = object THEN
        RETURN NULL;
    ELSIF active.mailbox IS NOT NULL THEN
        RETURN 'Moving';
    ELSIF m.uuid IS NULL THEN
        RETURN 'UnknownMailbox';
    ELSIF NOT EXISTS (SELECT FROM posthorn.shards s WHERE s.name = target) THEN
        RETURN 'UnknownShard';
    ELSIF m.shard = target THEN
        RETURN 'AlreadyThere';
    ELSIF EXISTS (SELECT FROM posthorn.tombstones t
                  WHERE t.shard = target AND t.mailbox = moved AND t.waiting <> '{}') THEN
        RETURN 'CopyLeft';
    END IF;
    DELETE FROM posthorn.tombstones t WHERE t.shard = target AND t.mailbox = moved;
    INSERT INTO posthorn.moves AS v (mailbox, from_shard, to_shard, object_uid) VALUES (moved, m.shard, target, object)
    ON CONFLICT (mailbox) DO UPDATE SET
        from_shard = excluded.from_shard, to_shard = excluded.to_shard, object_uid = excluded.object_uid,
        phase = 'syncing', report = '{}', started_at = excluded.started_at, phase_at = excluded.phase_at, switched_at = NULL;
    RETURN NULL;
END
$$;

-- For the operator. false: there is none, or it has gone too far.
CREATE FUNCTION posthorn.cancel_move(moved uuid, why text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE posthorn.moves v
    SET phase = 'failed', phase_at = clock_timestamp(), report = v.report || jsonb_build_object('message', why)
    WHERE v.mailbox = moved AND v.phase IN ('syncing', 'switching');
    RETURN FOUND;
END
$$;

-- For the shard that they leave: what is to be done, the longest waiting first. Of the leader only.
CREATE FUNCTION directory_v1.moves(shard text)
    RETURNS TABLE (mailbox uuid, username text, phase text, phase_seconds double precision, to_shard text, to_host text,
                   to_port integer, to_epoch bigint, report jsonb)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'a replica of the directory does not know what moves' USING ERRCODE = 'read_only_sql_transaction';
    END IF;
    RETURN QUERY
    SELECT v.mailbox, a.address, v.phase, extract(epoch FROM clock_timestamp() - v.phase_at)::double precision,
        v.to_shard, h.host, h.port, s.epoch, v.report
    FROM posthorn.moves v
    JOIN posthorn.shards s ON s.name = v.to_shard
    LEFT JOIN posthorn.shard_members h ON h.shard = s.name AND h.member = s.primary_member
    LEFT JOIN posthorn.addresses a ON a.mailbox = v.mailbox AND a.kind = 'mailbox'
    WHERE v.from_shard = moves.shard AND v.phase NOT IN ('done', 'failed')
    ORDER BY v.started_at;
END
$$;

-- One step of a move, by the primary of the shard that it leaves; true: it is made, or was before. From switching to
-- settling the mailbox changes its shard, in one statement with the phase, if the primary there is still the one of
-- report.toEpoch, which has everything. From settling to switching it comes back.
CREATE FUNCTION directory_v1.move_step(
    mailbox uuid, shard text, holder uuid, epoch bigint, from_phase text, to_phase text, report jsonb
) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ours posthorn.moves;
BEGIN
    SELECT * INTO ours FROM posthorn.moves v WHERE v.mailbox = move_step.mailbox AND v.from_shard = move_step.shard;
    -- Both leases in the order of their names, so that moves in opposite directions wait for each other.
    PERFORM posthorn.lock_lease(name)
    FROM (SELECT DISTINCT name FROM unnest(ARRAY[move_step.shard, ours.to_shard]) name WHERE name IS NOT NULL ORDER BY 1) l;
    IF NOT posthorn.holds(shard, holder, epoch) THEN
        RETURN false;
    ELSIF (from_phase || ' ' || to_phase) NOT IN (
        'syncing syncing', 'syncing switching', 'syncing failed', 'switching switching', 'switching syncing',
        'switching settling', 'switching failed', 'settling settling', 'settling switching', 'settling done') THEN
        RAISE EXCEPTION 'a move does not go from % to %', posthorn.printable(from_phase), posthorn.printable(to_phase)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM FROM posthorn.mailboxes m WHERE m.uuid = move_step.mailbox FOR NO KEY UPDATE;
    WITH step AS (
        UPDATE posthorn.moves v
        SET phase = to_phase, report = v.report || coalesce(move_step.report, '{}'),
            phase_at = CASE WHEN v.phase = to_phase THEN v.phase_at ELSE clock_timestamp() END,
            switched_at = CASE WHEN to_phase = 'settling' THEN coalesce(v.switched_at, clock_timestamp())
                               WHEN to_phase = 'done' THEN v.switched_at END
        WHERE v.mailbox = move_step.mailbox AND v.from_shard = move_step.shard AND v.phase = from_phase
          AND (from_phase <> 'switching' OR to_phase <> 'settling' OR EXISTS (
              SELECT FROM posthorn.shards s
              WHERE s.name = v.to_shard AND s.epoch = (move_step.report ->> 'toEpoch')::bigint))
        RETURNING v.mailbox, CASE WHEN v.phase IN ('settling', 'done') THEN v.to_shard ELSE v.from_shard END AS home_shard
    ), rehoused AS (
        UPDATE posthorn.mailboxes m SET shard = step.home_shard FROM step
        WHERE m.uuid = step.mailbox AND m.shard <> step.home_shard
        RETURNING m.uuid
    ), told AS (  -- its new store asks for scripts that have changed
        UPDATE posthorn.sieve v SET changed_at = clock_timestamp() FROM rehoused WHERE v.mailbox = rehoused.uuid
    )
    SELECT step.mailbox INTO ours.mailbox FROM step;
    RETURN FOUND OR from_phase <> to_phase AND EXISTS (
        SELECT FROM posthorn.moves v
        WHERE v.mailbox = move_step.mailbox AND v.from_shard = move_step.shard AND v.phase = to_phase);
END
$$;

-- Does this shard get the mailbox of that name? A yes of yesterday does no harm.
CREATE FUNCTION directory_v1.move_target(username text, shard text) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (
        SELECT FROM posthorn.addresses a JOIN posthorn.moves v ON v.mailbox = a.mailbox
        WHERE a.address = rtrim(lower(btrim(move_target.username) COLLATE "C"), '.') AND a.kind = 'mailbox'
          AND v.to_shard = move_target.shard AND v.phase NOT IN ('done', 'failed'))
$$;

-- What has to go from a member's volume, since that time (with 20 s more; '-infinity': all). waiting: members that have
-- not said purge_done. As purgeable: nothing on a replica, and on a leader only while its heartbeat beats. Rename
-- first, ask again, remove.
CREATE FUNCTION directory_v1.purge_list(shard text, since timestamptz)
    RETURNS TABLE (mailbox uuid, home text, at timestamptz, waiting integer[])
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT t.mailbox, '/srv/mail/mailboxes/' || left(t.mailbox::text, 2) || '/' || t.mailbox::text, t.at, t.waiting
    FROM posthorn.tombstones t
    WHERE t.shard = purge_list.shard AND t.at > purge_list.since - interval '20 seconds'
      AND NOT EXISTS (SELECT FROM posthorn.mailboxes m WHERE m.uuid = t.mailbox AND m.shard = t.shard)
      AND NOT EXISTS (SELECT FROM posthorn.moves v WHERE v.mailbox = t.mailbox AND v.phase NOT IN ('done', 'failed')
                      AND t.shard IN (v.from_shard, v.to_shard))
      AND NOT pg_is_in_recovery()
      AND EXISTS (SELECT FROM posthorn.heartbeat h
                  WHERE clock_timestamp() - h.beat BETWEEN interval '-2 seconds' AND interval '5 seconds')
    ORDER BY t.at
$$;

-- A member has no such mailbox (any more).
CREATE FUNCTION directory_v1.purge_done(shard text, member integer, mailbox uuid) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE posthorn.tombstones t SET waiting = array_remove(t.waiting, purge_done.member)
    WHERE t.shard = purge_done.shard AND t.mailbox = purge_done.mailbox AND purge_done.member = ANY (t.waiting)
$$;

-- As in 0012, and tombstones that no volume can be old enough for.
CREATE OR REPLACE FUNCTION posthorn.maintain(rotate_after interval) RETURNS boolean
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
    DELETE FROM posthorn.tombstones WHERE at < now() - interval '400 days';
    RETURN rotated;
END
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA posthorn, directory_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION directory_v1.moves(text), directory_v1.move_target(text, text),
    directory_v1.move_step(uuid, text, uuid, bigint, text, text, jsonb),
    directory_v1.purge_list(text, timestamptz), directory_v1.purge_done(text, integer, uuid) TO posthorn_store;
