-- Shards with several members, each a store pod with a volume of its own; who of them is the primary; mailboxes that move.

-- What is declared of a shard. primary_member and epoch are copies of its lease, for look-ups: they change when the
-- primary does, the lease each second.
ALTER TABLE posthorn.shards
    ADD replicas        integer NOT NULL DEFAULT 1 CHECK (replicas BETWEEN 1 AND 9),
    ADD durability      text NOT NULL DEFAULT 'Primary' CHECK (durability IN ('Primary', 'Replicated')),
    ADD without_replica text NOT NULL DEFAULT 'Defer' CHECK (without_replica IN ('Defer', 'Degrade')),
    ADD primary_member  integer,                       -- who has the lease, or is the only one who may take it now; NULL: nobody
    ADD epoch           bigint NOT NULL DEFAULT 0;

-- Where the members are: the operator's.
CREATE TABLE posthorn.shard_members (
    shard  text COLLATE "C" NOT NULL REFERENCES posthorn.shards (name) ON DELETE CASCADE,
    member integer NOT NULL CHECK (member BETWEEN 0 AND 8),
    host   text NOT NULL CHECK (host <> ''),
    port   integer NOT NULL DEFAULT 10028 CHECK (port BETWEEN 1 AND 65535), -- of its agent, for other members
    PRIMARY KEY (shard, member)
);

-- What members, and the primary of them, say. fillfactor: rows are rewritten in their page, without touching an index.
CREATE TABLE posthorn.member_states (
    shard         text COLLATE "C" NOT NULL,
    member        integer NOT NULL,
    volume        uuid,                                -- NULL: no member has registered yet
    seeded        boolean NOT NULL DEFAULT false,      -- the volume has all mail of the shard, or had it once: it may be promoted
    registered_at timestamptz,
    in_sync       boolean NOT NULL DEFAULT false,
    lag_changes   bigint,
    lag_seconds   double precision,
    last_compare  timestamptz,
    divergent     bigint,                              -- mailboxes that were found to differ
    facts         jsonb,                               -- {"usedBytes", "totalBytes", "journalEntries", "state", …}
    reported_at   timestamptz,
    PRIMARY KEY (shard, member),
    FOREIGN KEY (shard, member) REFERENCES posthorn.shard_members ON DELETE CASCADE
) WITH (fillfactor = 30);

CREATE FUNCTION posthorn.add_member_state() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO posthorn.member_states (shard, member) VALUES (NEW.shard, NEW.member);
    RETURN NULL;
END
$$;
CREATE TRIGGER add_state AFTER INSERT ON posthorn.shard_members
    FOR EACH ROW EXECUTE FUNCTION posthorn.add_member_state();

-- One row per shard, there from the beginning: epoch 0 means that no member has ever asked for the lease.
-- fillfactor: renewed each second, so versions that nobody sees any more are to be cleared away early.
CREATE TABLE posthorn.leases (
    shard          text COLLATE "C" PRIMARY KEY REFERENCES posthorn.shards (name) ON DELETE CASCADE,
    primary_member integer,                            -- who took it last
    holder         uuid,                               -- the process that has it; NULL: it was given back
    epoch          bigint NOT NULL DEFAULT 0,          -- one more with each that takes it
    renewals       bigint NOT NULL DEFAULT 0,          -- grows with each write, so that (epoch, renewals) never comes again
    reserved_for   integer,                            -- given back for this member
    wanted         integer,                            -- whom the operator asks the primary to hand over to
    taken_at       timestamptz,
    CHECK (holder IS NULL OR primary_member IS NOT NULL)
) WITH (fillfactor = 10);

CREATE FUNCTION posthorn.add_lease() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO posthorn.leases (shard) VALUES (NEW.name);
    RETURN NULL;
END
$$;
CREATE TRIGGER add_lease AFTER INSERT ON posthorn.shards
    FOR EACH ROW EXECUTE FUNCTION posthorn.add_lease();
INSERT INTO posthorn.leases (shard) SELECT name FROM posthorn.shards;

-- Whoever changes a lease, a look-up finds the same.
CREATE FUNCTION posthorn.copy_lease() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE posthorn.shards s SET epoch = NEW.epoch,
        primary_member = CASE WHEN NEW.holder IS NOT NULL THEN NEW.primary_member ELSE NEW.reserved_for END
    WHERE s.name = NEW.shard;
    RETURN NULL;
END
$$;
CREATE TRIGGER copy AFTER UPDATE OF primary_member, holder, epoch, reserved_for ON posthorn.leases
    FOR EACH ROW WHEN ((NEW.primary_member, NEW.holder, NEW.epoch, NEW.reserved_for)
                       IS DISTINCT FROM (OLD.primary_member, OLD.holder, OLD.epoch, OLD.reserved_for))
    EXECUTE FUNCTION posthorn.copy_lease();

-- Data that must go from a shard's volumes: of a purged mailbox, of one that has moved away, of a move that failed.
CREATE TABLE posthorn.tombstones (
    shard   text COLLATE "C" NOT NULL REFERENCES posthorn.shards (name) ON DELETE CASCADE,
    mailbox uuid NOT NULL,
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    waiting integer[] NOT NULL,                        -- members that have not removed it yet
    PRIMARY KEY (shard, mailbox)
);
CREATE INDEX tombstones_at ON posthorn.tombstones (shard, at);

-- A member that is new to the directory may have an old volume.
CREATE FUNCTION posthorn.add_to_tombstones() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE posthorn.tombstones t SET waiting = t.waiting || NEW.member, at = clock_timestamp()
    WHERE t.shard = NEW.shard AND NEW.member <> ALL (t.waiting);
    RETURN NULL;
END
$$;
CREATE TRIGGER add_to_tombstones AFTER INSERT ON posthorn.shard_members
    FOR EACH ROW EXECUTE FUNCTION posthorn.add_to_tombstones();

-- A mailbox on its way to another shard. Where it lives is mailboxes.shard's to say, which changes together with phase:
--   syncing    it lives on from_shard, which copies it
--   switching  the same, but nobody gets in, and mail waits: the last changes are copied, and both are compared
--   settling   it lives on to_shard; from_shard still has it, and looks whether anything came late
--   done       from_shard may forget it
--   failed     it lives on from_shard as before, and to_shard may forget it
CREATE TABLE posthorn.moves (
    mailbox          uuid PRIMARY KEY REFERENCES posthorn.mailboxes (uuid) ON DELETE CASCADE,
    from_shard       text COLLATE "C" NOT NULL REFERENCES posthorn.shards (name) ON DELETE CASCADE,
    to_shard         text COLLATE "C" NOT NULL REFERENCES posthorn.shards (name) ON DELETE CASCADE,
    phase            text NOT NULL DEFAULT 'syncing'
                     CHECK (phase IN ('syncing', 'switching', 'settling', 'done', 'failed')),
    report           jsonb NOT NULL DEFAULT '{}',      -- what from_shard says: {"messages", "bytes", "message", …}
    object_uid       text NOT NULL,                    -- the MailboxMove
    started_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    phase_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    switched_at      timestamptz,
    CHECK (from_shard <> to_shard)
);
CREATE INDEX moves_active ON posthorn.moves (from_shard) WHERE phase NOT IN ('done', 'failed');
CREATE INDEX moves_to ON posthorn.moves (to_shard) WHERE phase NOT IN ('done', 'failed');

REVOKE ALL ON ALL TABLES IN SCHEMA posthorn FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA posthorn FROM PUBLIC;
