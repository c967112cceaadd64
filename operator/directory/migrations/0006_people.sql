-- What a mailbox may do and until when, who shares it, by what else its owner logs in; forwards; journals.

-- state holds until state_until; from then on the mailbox is Active, whatever state says.
ALTER TABLE posthorn.mailboxes
    ADD state          text NOT NULL DEFAULT 'Active'
                       CHECK (state IN ('Active', 'ReceiveOnly', 'LoginOff', 'SendBlocked', 'Suspended')),
    ADD state_until    timestamptz,
    ADD suspended_mail text NOT NULL DEFAULT 'Accept' CHECK (suspended_mail IN ('Accept', 'Refuse')),
    ADD ldap_user      text CHECK (ldap_user <> ''),   -- NULL: is not authenticated by LDAP
    ADD require        jsonb,                          -- {"from": [domains], "otherwise": "Reject" or "Tag"}
    ADD sending_hour   integer CHECK (sending_hour >= 0),
    ADD sending_day    integer CHECK (sending_day >= 0),
    ADD retention      jsonb,                          -- [{"folder", "days"}]
    ADD over_quota     boolean DEFAULT false,          -- as the store said last; NULL: it should look again
    ADD claimed_at     timestamptz;                    -- age of the object; NULL in rows older than this column
CREATE INDEX mailboxes_object ON posthorn.mailboxes (object_namespace, object_name) WHERE deleted_at IS NULL;
CREATE INDEX mailboxes_over ON posthorn.mailboxes (shard) WHERE over_quota IS DISTINCT FROM false;

CREATE TABLE posthorn.app_passwords (
    mailbox   uuid NOT NULL REFERENCES posthorn.mailboxes (uuid) ON DELETE CASCADE,
    name      text COLLATE "C" NOT NULL CHECK (name <> ''),
    hash      text NOT NULL,
    source    text NOT NULL,                           -- which version of which Secret
    protocols text[],                                  -- NULL: all
    PRIMARY KEY (mailbox, name)
);

-- Who may use a shared mailbox. Members are names in the namespace of the mailbox: they need not be there (yet).
CREATE TABLE posthorn.members (
    mailbox   uuid NOT NULL REFERENCES posthorn.mailboxes (uuid) ON DELETE CASCADE,
    namespace text NOT NULL,
    member    text NOT NULL,
    rights    text NOT NULL CHECK (rights IN ('ReadWrite', 'ReadOnly')),
    send_as   boolean NOT NULL,
    PRIMARY KEY (mailbox, member)
);
CREATE INDEX members_member ON posthorn.members (namespace, member);

-- The declared Sieve script of a mailbox, and what its store made of it. A row outlives the script, so that the
-- store hears that there is none any more.
CREATE TABLE posthorn.sieve (
    mailbox      uuid PRIMARY KEY REFERENCES posthorn.mailboxes (uuid) ON DELETE CASCADE,
    script       text,
    hash         text CHECK ((hash IS NULL) = (script IS NULL)),
    changed_at   timestamptz NOT NULL,
    result_hash  text,
    result_error text,                                 -- NULL: it compiled
    result_at    timestamptz
);
CREATE INDEX sieve_changed ON posthorn.sieve (changed_at);

-- A forward. Its address is in posthorn.addresses as long as nobody elder has it. keep_copy and send_as are names of
-- mailboxes in the same namespace.
CREATE TABLE posthorn.forwards (
    uid              text COLLATE "C" PRIMARY KEY,     -- of the Kubernetes object
    address          text COLLATE "C" NOT NULL,        -- declared; *@domain: all that nobody has
    targets          text[] COLLATE "C" NOT NULL
                     CHECK (array_to_string(targets, ',')
                            ~ '^([^@,"<>[:space:][:cntrl:]]+@[^@,"<>[:space:][:cntrl:]]+(,(?!$)|$))*$'),
    couriers         jsonb NOT NULL CHECK (jsonb_typeof(couriers) = 'array'), -- webhooks and commands
    keep_copy        text,
    send_as          text,
    require          jsonb,
    object_namespace text NOT NULL,
    object_name      text NOT NULL,
    claimed_at       timestamptz NOT NULL
);

-- The forward of an address. On the address of a mailbox it is attached: the mailbox gets its copy.
ALTER TABLE posthorn.addresses
    ADD forward text COLLATE "C" REFERENCES posthorn.forwards (uid),
    ADD CHECK (kind <> 'forward' OR forward IS NOT NULL),
    ADD CHECK (forward IS NULL OR kind IN ('forward', 'mailbox', 'alias'));
CREATE UNIQUE INDEX addresses_forward ON posthorn.addresses (forward) WHERE forward IS NOT NULL;

ALTER TABLE posthorn.domains
    ADD filter       jsonb,
    ADD sending_hour integer CHECK (sending_hour >= 0);

ALTER TABLE posthorn.settings
    ADD forward_host text,
    ADD srs_domain   text COLLATE "C" CHECK (srs_domain = lower(srs_domain)),
    ADD user_hour    integer CHECK (user_hour >= 0),   -- NULL: any number
    ADD user_day     integer CHECK (user_day >= 0),
    ADD domain_hour  integer CHECK (domain_hour >= 0);

-- Keys of SRS addresses. The newest signs, after a minute in which all members learn of it; all verify. A key goes
-- when its successor is older than any address that it has signed is valid.
CREATE TABLE posthorn.srs_secrets (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key        bytea NOT NULL CHECK (length(key) = 32),
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Whose sessions have to end.
CREATE TABLE posthorn.revocations (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    username text NOT NULL,
    at       timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX revocations_at ON posthorn.revocations (at);

-- What an account did that people should know of.
CREATE TABLE posthorn.incidents (
    mailbox     uuid NOT NULL REFERENCES posthorn.mailboxes (uuid) ON DELETE CASCADE,
    kind        text NOT NULL CHECK (kind <> ''),
    detail      text NOT NULL,
    since       timestamptz NOT NULL DEFAULT now(),
    reported_at timestamptz NOT NULL DEFAULT now(),
    until       timestamptz,                           -- it may not send until then; NULL: it may
    count       integer NOT NULL DEFAULT 1,
    PRIMARY KEY (mailbox, kind)
);

-- Roles of the daemons that are new.
DO $$
DECLARE
    daemon text;
BEGIN
    FOREACH daemon IN ARRAY ARRAY['posthorn_forward', 'posthorn_courier'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = daemon) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', daemon);
        END IF;
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), daemon);
    END LOOP;
END
$$;
GRANT USAGE ON SCHEMA directory_v1 TO posthorn_forward, posthorn_courier;
REVOKE ALL ON ALL TABLES IN SCHEMA posthorn FROM PUBLIC;
