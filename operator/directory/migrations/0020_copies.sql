-- Copies that are not what they seem: of a move that is over, of a person who was removed, of a volume that was rolled back.

-- As in 0015, from the primary too: what it had removed before it said so, another may be primary by now.
CREATE OR REPLACE FUNCTION posthorn.bury_purged() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM posthorn.bury(OLD.uuid, OLD.shard, posthorn.members_of(OLD.shard));
    RETURN NULL;
END
$$;

-- As in 0015, a minute after it became so: a sync of a move that was ended is cut off by then, and writes no more into what
-- has been removed.
CREATE OR REPLACE FUNCTION directory_v1.purge_list(shard text, since timestamptz)
    RETURNS TABLE (mailbox uuid, home text, at timestamptz, waiting integer[])
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT t.mailbox, '/srv/mail/mailboxes/' || left(t.mailbox::text, 2) || '/' || t.mailbox::text, t.at, t.waiting
    FROM posthorn.tombstones t
    WHERE t.shard = purge_list.shard AND t.at > purge_list.since - interval '80 seconds'
      AND t.at < clock_timestamp() - interval '60 seconds'
      AND NOT EXISTS (SELECT FROM posthorn.mailboxes m WHERE m.uuid = t.mailbox AND m.shard = t.shard)
      AND NOT EXISTS (SELECT FROM posthorn.moves v WHERE v.mailbox = t.mailbox AND v.phase NOT IN ('done', 'failed')
                      AND t.shard IN (v.from_shard, v.to_shard))
      AND NOT pg_is_in_recovery()
      AND EXISTS (SELECT FROM posthorn.heartbeat h
                  WHERE clock_timestamp() - h.beat BETWEEN interval '-2 seconds' AND interval '5 seconds')
    ORDER BY t.at
$$;

-- A shard has everything that its primary of that epoch has, on all of its volumes.
CREATE FUNCTION posthorn.all_in_sync(asked text, as_of bigint) RETURNS boolean
    LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM posthorn.shards s
        WHERE s.name = asked AND s.epoch = as_of AND (s.replicas = 1 OR NOT EXISTS (
            SELECT FROM posthorn.member_states t
            WHERE t.shard = s.name AND t.member IS DISTINCT FROM s.primary_member AND NOT (t.seeded AND t.in_sync))));
END
$$;

-- As in 0015. The old shard may forget a mailbox only when all copies of the new one have it, and its primary is still the
-- one that got everything (report.toEpoch): until then it is the only other place that does.
CREATE OR REPLACE FUNCTION directory_v1.move_step(
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
          AND (to_phase <> 'done' OR posthorn.all_in_sync(
              v.to_shard, ((v.report || coalesce(move_step.report, '{}')) ->> 'toEpoch')::bigint))
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

-- How often a volume's agent had been started when it registered last, and which it was.
ALTER TABLE posthorn.member_states
    ADD boots   bigint,
    ADD process uuid;

-- As in 0014, and more.
-- boots, which the volume itself counts, and the agent's process (NULL: it doesn't say): less than is known, or as much for
-- another process, means that the volume was rolled back, from a snapshot for example. It may not be a primary's before it is
-- compared again, unless there is no other copy that could be.
-- A directory that was restored doesn't know who was the last primary, and forgets the one that it thinks it was: that
-- member would not look for what the last one has left.
DROP FUNCTION directory_v1.register_member(text, integer, uuid, bigint);
CREATE FUNCTION directory_v1.register_member(
    shard text, member integer, volume uuid, highest_epoch bigint, process uuid DEFAULT NULL, boots bigint DEFAULT NULL
) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    l posthorn.leases;
    v posthorn.member_states;
BEGIN
    IF volume IS NULL THEN
        RAISE EXCEPTION 'a member without a volume' USING ERRCODE = 'null_value_not_allowed';
    ELSIF highest_epoch > 1000000000000 THEN
        RAISE EXCEPTION 'member % of shard % names an epoch that there cannot be: %', member, posthorn.printable(shard),
            highest_epoch USING ERRCODE = 'numeric_value_out_of_range';
    END IF;
    PERFORM posthorn.lock_lease(shard);
    UPDATE posthorn.leases SET epoch = highest_epoch, primary_member = NULL, holder = NULL, reserved_for = NULL,
        renewals = leases.renewals + posthorn.step()
    WHERE leases.shard = register_member.shard AND leases.epoch < highest_epoch;
    SELECT * INTO l FROM posthorn.leases WHERE leases.shard = register_member.shard;
    SELECT * INTO v FROM posthorn.member_states s
    WHERE s.shard = register_member.shard AND s.member = register_member.member FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'directory has no member % of shard %', member, posthorn.printable(shard)
            USING ERRCODE = 'object_not_in_prerequisite_state';
    ELSIF v.volume IS DISTINCT FROM register_member.volume THEN
        UPDATE posthorn.member_states s
        SET volume = register_member.volume, registered_at = clock_timestamp(), seeded = l.epoch = 0 AND s.member = 0,
            in_sync = false, lag_changes = NULL, lag_seconds = NULL, last_compare = NULL, divergent = NULL, facts = NULL,
            boots = register_member.boots, process = register_member.process
        WHERE s.shard = v.shard AND s.member = v.member;
    ELSIF (v.boots, v.process) IS DISTINCT FROM (register_member.boots, register_member.process)
        AND register_member.boots IS NOT NULL THEN
        UPDATE posthorn.member_states s
        SET boots = register_member.boots, process = register_member.process,
            in_sync = s.in_sync AND coalesce(register_member.boots > v.boots, true),
            seeded = s.seeded AND (coalesce(register_member.boots > v.boots, true) OR NOT EXISTS (
                SELECT FROM posthorn.member_states other
                WHERE other.shard = v.shard AND other.member <> v.member AND other.seeded))
        WHERE s.shard = v.shard AND s.member = v.member;
    END IF;
    RETURN posthorn.lease_of(l);
END
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA posthorn, directory_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION directory_v1.register_member(text, integer, uuid, bigint, uuid, bigint) TO posthorn_store;
