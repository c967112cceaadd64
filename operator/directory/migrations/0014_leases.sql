-- Who is a shard's primary: a lease with an epoch, compared and swapped here; its deadline is counted by the members,
-- each by its own clock. docs/reference/directory.md#leases says what a member has to keep to.
--
-- All that writes locks the lease first, so what it looks at besides (is the member seeded?) stays as it is until the
-- commit; then one UPDATE has every condition. A commit waits for the synchronous replica, whatever the session says:
-- a leader that was cut off confirms nothing. On a replica all of these raise.

CREATE FUNCTION posthorn.lock_lease(locked text) RETURNS void
    LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    PERFORM FROM posthorn.leases l WHERE l.shard = locked FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'directory has no shard %', posthorn.printable(locked)
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
END
$$;

-- By how much renewals grows with each write of a lease. Not by one: after a failover that has forgotten a renewal which
-- somebody had seen already, another one would look the same, and the lease as if it had not been renewed.
CREATE FUNCTION posthorn.step() RETURNS bigint
    LANGUAGE sql VOLATILE AS $$
    SELECT 1 + floor(random() * 1000000)::bigint
$$;

-- The lease as its readers get it. plpgsql, because that keeps its plan.
CREATE FUNCTION posthorn.lease_of(l posthorn.leases) RETURNS jsonb
    LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT jsonb_build_object(
        'epoch', (l).epoch, 'primary', (l).primary_member, 'holder', (l).holder, 'renewals', (l).renewals,
        'reservedFor', (l).reserved_for, 'wanted', (l).wanted, 'durability', s.durability,
        'withoutReplica', s.without_replica, 'replicas', s.replicas,
        'moves', (SELECT count(*) FROM posthorn.moves v
                  WHERE v.from_shard = s.name AND v.phase NOT IN ('done', 'failed')),
        'members', coalesce((
            SELECT jsonb_agg(jsonb_build_object(
                'member', h.member, 'host', h.host, 'port', h.port, 'volume', v.volume, 'seeded', v.seeded,
                'inSync', v.in_sync, 'lagChanges', v.lag_changes, 'lagSeconds', v.lag_seconds) ORDER BY h.member)
            FROM posthorn.shard_members h JOIN posthorn.member_states v ON v.shard = h.shard AND v.member = h.member
            WHERE h.shard = s.name), '[]'))
    FROM posthorn.shards s WHERE s.name = (l).shard);
END
$$;

-- Of the leader only: a replica's may be of yesterday.
CREATE FUNCTION directory_v1.lease(shard text) RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    l posthorn.leases;
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'a replica of the directory does not know who has the lease of shard %', posthorn.printable(shard)
            USING ERRCODE = 'read_only_sql_transaction';
    END IF;
    SELECT * INTO l FROM posthorn.leases WHERE leases.shard = lease.shard;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'directory has no shard %', posthorn.printable(shard)
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RETURN posthorn.lease_of(l);
END
$$;

-- NULL: somebody else has it, or nobody.
CREATE FUNCTION directory_v1.renew_lease(shard text, member integer, holder uuid, epoch bigint) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    l posthorn.leases;
BEGIN
    PERFORM posthorn.lock_lease(shard);
    UPDATE posthorn.leases SET renewals = leases.renewals + posthorn.step()
    WHERE leases.shard = renew_lease.shard AND leases.primary_member = renew_lease.member
      AND leases.holder = renew_lease.holder AND leases.epoch = renew_lease.epoch
    RETURNING * INTO l;
    RETURN CASE WHEN FOUND THEN posthorn.lease_of(l) END;
END
$$;

-- The new epoch; NULL: the lease isn't the one that the member has seen, or its volume may not be a primary's.
-- The member has waited as long as it must. What the operator wanted is over with this.
CREATE FUNCTION directory_v1.take_lease(
    shard text, member integer, holder uuid, volume uuid, epoch bigint, renewals bigint
) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    taken bigint;
BEGIN
    IF holder IS NULL OR volume IS NULL THEN
        RAISE EXCEPTION 'who takes a lease has a holder and a volume' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    PERFORM posthorn.lock_lease(shard);
    UPDATE posthorn.leases l
    SET primary_member = take_lease.member, holder = take_lease.holder, epoch = l.epoch + 1, renewals = posthorn.step(),
        reserved_for = NULL, wanted = NULL, taken_at = clock_timestamp()
    FROM posthorn.member_states v
    WHERE l.shard = take_lease.shard AND l.epoch = take_lease.epoch AND l.renewals = take_lease.renewals
      AND v.shard = take_lease.shard AND v.member = take_lease.member AND v.volume = take_lease.volume
      AND (v.seeded OR (l.epoch = 0 AND v.member = 0))
    RETURNING l.epoch INTO taken;
    -- The first primary's volume is what the others are filled from.
    UPDATE posthorn.member_states v SET seeded = true
    WHERE taken IS NOT NULL AND v.shard = take_lease.shard AND v.member = take_lease.member AND NOT v.seeded;
    RETURN taken;
END
$$;

-- Whether it was the holder's to give back. renewals goes on, so that those who wait begin anew, and the member that it
-- is reserved for is the first.
CREATE FUNCTION directory_v1.release_lease(shard text, member integer, holder uuid, epoch bigint, reserved_for integer)
    RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM posthorn.lock_lease(shard);
    UPDATE posthorn.leases l
    SET holder = NULL, reserved_for = release_lease.reserved_for, renewals = l.renewals + posthorn.step()
    WHERE l.shard = release_lease.shard AND l.primary_member = release_lease.member
      AND l.holder = release_lease.holder AND l.epoch = release_lease.epoch;
    RETURN FOUND;
END
$$;

-- A member says which volume it has, before anything else. One that the directory doesn't know may be empty, or
-- somebody's: it has to be filled and compared before it may be a primary's. Before there has ever been a primary,
-- member 0 is the one to begin. Volumes know the highest epoch that they have seen: a directory that knows less was restored
-- to an earlier time, and goes on above it, with nobody as holder.
CREATE FUNCTION directory_v1.register_member(shard text, member integer, volume uuid, highest_epoch bigint)
    RETURNS jsonb
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    l posthorn.leases;
BEGIN
    IF volume IS NULL THEN
        RAISE EXCEPTION 'a member without a volume' USING ERRCODE = 'null_value_not_allowed';
    ELSIF highest_epoch > 1000000000000 THEN
        RAISE EXCEPTION 'member % of shard % names an epoch that there cannot be: %', member, posthorn.printable(shard),
            highest_epoch USING ERRCODE = 'numeric_value_out_of_range';
    END IF;
    PERFORM posthorn.lock_lease(shard);
    UPDATE posthorn.leases SET epoch = highest_epoch, holder = NULL, reserved_for = NULL,
        renewals = leases.renewals + posthorn.step()
    WHERE leases.shard = register_member.shard AND leases.epoch < highest_epoch;
    SELECT * INTO l FROM posthorn.leases WHERE leases.shard = register_member.shard;
    UPDATE posthorn.member_states v
    SET volume = register_member.volume, registered_at = clock_timestamp(), seeded = l.epoch = 0 AND v.member = 0,
        in_sync = false, lag_changes = NULL, lag_seconds = NULL, last_compare = NULL, divergent = NULL, facts = NULL
    WHERE v.shard = register_member.shard AND v.member = register_member.member
      AND v.volume IS DISTINCT FROM register_member.volume;
    IF NOT FOUND AND NOT EXISTS (SELECT FROM posthorn.member_states v
                                 WHERE v.shard = register_member.shard AND v.member = register_member.member) THEN
        RAISE EXCEPTION 'directory has no member % of shard %', member, posthorn.printable(shard)
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RETURN posthorn.lease_of(l);
END
$$;

-- For status. false: that volume isn't the member's.
CREATE FUNCTION directory_v1.report_member(shard text, member integer, volume uuid, facts jsonb) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE posthorn.member_states v SET facts = report_member.facts, reported_at = clock_timestamp()
    WHERE v.shard = report_member.shard AND v.member = report_member.member AND v.volume = report_member.volume
      AND v.facts IS DISTINCT FROM report_member.facts;
    RETURN FOUND OR EXISTS (
        SELECT FROM posthorn.member_states v
        WHERE v.shard = report_member.shard AND v.member = report_member.member AND v.volume = report_member.volume);
END
$$;

-- Has it the lease? Asked with the lease locked, and so true until the commit.
CREATE FUNCTION posthorn.holds(shard text, holder uuid, epoch bigint) RETURNS boolean
    LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM posthorn.lock_lease(shard);
    RETURN EXISTS (SELECT FROM posthorn.leases l
                   WHERE l.shard = holds.shard AND l.holder = holds.holder AND l.epoch = holds.epoch);
END
$$;

-- The primary has compared a volume with its own. false: it isn't the primary, or that volume isn't the member's.
CREATE FUNCTION directory_v1.member_seeded(
    shard text, holder uuid, epoch bigint, member integer, volume uuid, seeded boolean
) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT posthorn.holds(shard, holder, epoch) THEN
        RETURN false;
    END IF;
    UPDATE posthorn.member_states v
    SET seeded = member_seeded.seeded, in_sync = v.in_sync AND member_seeded.seeded
    WHERE v.shard = member_seeded.shard AND v.member = member_seeded.member AND v.volume = member_seeded.volume;
    RETURN FOUND;
END
$$;

-- What the primary knows of its replicas: {"members": [{"member", "inSync", "lagChanges", "lagSeconds", "lastCompare",
-- "divergent"}]}; of a member, what isn't said stays. false: it isn't the primary.
CREATE FUNCTION directory_v1.report_replication(shard text, holder uuid, epoch bigint, report jsonb) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT posthorn.holds(shard, holder, epoch) THEN
        RETURN false;
    END IF;
    UPDATE posthorn.member_states v
    SET in_sync = n.in_sync, lag_changes = n.lag_changes, lag_seconds = n.lag_seconds, last_compare = n.last_compare,
        divergent = n.divergent, reported_at = clock_timestamp()
    FROM (
        SELECT o.member,
            CASE WHEN r ? 'inSync' THEN coalesce((r ->> 'inSync')::boolean, false) ELSE o.in_sync END AS in_sync,
            CASE WHEN r ? 'lagChanges' THEN (r ->> 'lagChanges')::bigint ELSE o.lag_changes END AS lag_changes,
            CASE WHEN r ? 'lagSeconds' THEN (r ->> 'lagSeconds')::double precision ELSE o.lag_seconds END AS lag_seconds,
            CASE WHEN r ? 'lastCompare' THEN (r ->> 'lastCompare')::timestamptz ELSE o.last_compare END AS last_compare,
            CASE WHEN r ? 'divergent' THEN (r ->> 'divergent')::bigint ELSE o.divergent END AS divergent
        FROM jsonb_array_elements(report -> 'members') r
        JOIN posthorn.member_states o
          ON o.shard = report_replication.shard AND o.member = (r ->> 'member')::integer
    ) AS n
    WHERE v.shard = report_replication.shard AND v.member = n.member
      AND (v.in_sync, v.lag_changes, v.lag_seconds, v.last_compare, v.divergent)
          IS DISTINCT FROM (n.in_sync, n.lag_changes, n.lag_seconds, n.last_compare, n.divergent);
    RETURN true;
END
$$;

-- For the administrator and the operator: take a volume as it is, when there is none to fill it from.
CREATE FUNCTION posthorn.accept_volume(shard text, member integer, volume uuid) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM posthorn.lock_lease(shard);
    UPDATE posthorn.member_states v SET seeded = true
    WHERE v.shard = accept_volume.shard AND v.member = accept_volume.member AND v.volume = accept_volume.volume
      AND NOT v.seeded;
    RETURN FOUND;
END
$$;

-- Asks the primary to hand over to another member, which it is told when it renews; NULL: no longer. false: that member
-- can't be, or is it already.
CREATE FUNCTION posthorn.want_primary(shard text, member integer) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM posthorn.lock_lease(shard);
    UPDATE posthorn.leases l SET wanted = want_primary.member
    WHERE l.shard = want_primary.shard AND l.wanted IS DISTINCT FROM want_primary.member
      AND (want_primary.member IS NULL OR l.holder IS NOT NULL AND l.primary_member <> want_primary.member AND EXISTS (
          SELECT FROM posthorn.member_states v
          WHERE v.shard = l.shard AND v.member = want_primary.member AND v.seeded));
    RETURN FOUND OR EXISTS (SELECT FROM posthorn.leases l
                            WHERE l.shard = want_primary.shard AND l.wanted IS NOT DISTINCT FROM want_primary.member);
END
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA posthorn, directory_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION directory_v1.lease(text), directory_v1.renew_lease(text, integer, uuid, bigint),
    directory_v1.take_lease(text, integer, uuid, uuid, bigint, bigint),
    directory_v1.release_lease(text, integer, uuid, bigint, integer),
    directory_v1.register_member(text, integer, uuid, bigint),
    directory_v1.report_member(text, integer, uuid, jsonb),
    directory_v1.member_seeded(text, uuid, bigint, integer, uuid, boolean),
    directory_v1.report_replication(text, uuid, bigint, jsonb) TO posthorn_store;
