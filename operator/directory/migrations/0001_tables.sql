-- Tables of the directory. Nothing but the operator (role posthorn, the owner) reads or writes them:
-- daemons read the functions and views of schema directory_v1.
--
-- Rules for every migration: it runs in one transaction, through a pooler in transaction mode, as a role that
-- is not a superuser; it first expands (new columns are nullable or have a default) and only a later release
-- contracts; a file that has been released is never edited, its checksum is recorded where it ran.
--
-- Addresses and domains are stored normalised: lower case, ASCII (IDNA A-labels), no trailing dot.
-- COLLATE "C" because they are compared as octets, and so that a new libc cannot corrupt an index.

-- A shard of the mailbox store: where mailboxes live.
CREATE TABLE posthorn.shards (
    name       text COLLATE "C" PRIMARY KEY CHECK (name ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    host       text NOT NULL CHECK (host <> ''),
    lmtp_port  integer NOT NULL DEFAULT 10024 CHECK (lmtp_port BETWEEN 1 AND 65535),
    imap_port  integer NOT NULL DEFAULT 10143 CHECK (imap_port BETWEEN 1 AND 65535),
    sieve_port integer NOT NULL DEFAULT 14190 CHECK (sieve_port BETWEEN 1 AND 65535)
);

-- A hosted domain, and the MailDomain that declares it.
CREATE TABLE posthorn.domains (
    domain           text COLLATE "C" PRIMARY KEY
                     CHECK (domain = lower(domain) AND domain <> '' AND length(domain) <= 253 AND domain !~ '[@[:space:]]'),
    object_uid       text NOT NULL,
    object_namespace text NOT NULL,
    object_name      text NOT NULL,
    dkim_selector    text
);

-- A mailbox is its uuid: home directory, quota, Sieve and backups go by it, never by the address.
-- The row outlives the Kubernetes object: deleted_at is set, the address is released, the data stays.
CREATE TABLE posthorn.mailboxes (
    uuid             uuid PRIMARY KEY,
    address          text COLLATE "C" NOT NULL,      -- declared; who has it is posthorn.addresses' to say
    home             text NOT NULL GENERATED ALWAYS AS
                     ('/srv/mail/mailboxes/' || left(uuid::text, 2) || '/' || uuid::text) STORED,
    shard            text COLLATE "C" NOT NULL REFERENCES posthorn.shards (name),
    quota_bytes      bigint CHECK (quota_bytes > 0), -- NULL: unlimited
    deletion_policy  text NOT NULL DEFAULT 'Retain' CHECK (deletion_policy IN ('Retain', 'Delete')),
    password         text,                           -- {SCHEME}hash as Dovecot reads it; NULL: nobody can log in
    password_source  text,                           -- which version of which Secret the hash was made from
    object_uid       text NOT NULL,
    object_namespace text NOT NULL,                  -- the tenant
    object_name      text NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    deleted_at       timestamptz,
    purge_after      timestamptz,                    -- NULL: never; else the store may remove the data then
    CHECK (purge_after IS NULL OR deleted_at IS NOT NULL)
);
CREATE INDEX mailboxes_shard ON posthorn.mailboxes (shard);
CREATE INDEX mailboxes_retained ON posthorn.mailboxes (address) WHERE deleted_at IS NOT NULL;
CREATE INDEX mailboxes_purgeable ON posthorn.mailboxes (shard, purge_after) WHERE purge_after IS NOT NULL;

-- Every address there is, of whatever kind. The primary key is what makes an address belong to one owner only.
-- (claimed_at, claimant) is the age of the claiming object: of two claims the lesser pair wins.
CREATE TABLE posthorn.addresses (
    address    text COLLATE "C" PRIMARY KEY
               CHECK (address = lower(address) AND length(address) <= 320 AND address ~ '^[^[:cntrl:]]+@[^@[:space:]]+$'),
    domain     text COLLATE "C" NOT NULL REFERENCES posthorn.domains (domain),
    kind       text NOT NULL CHECK (kind IN ('mailbox', 'alias', 'forward', 'list', 'reserved')),
    mailbox    uuid REFERENCES posthorn.mailboxes (uuid) ON DELETE CASCADE,
    claimed_at timestamptz NOT NULL,
    claimant   text COLLATE "C" NOT NULL,            -- uid of the Kubernetes object
    CHECK ((kind IN ('mailbox', 'alias')) = (mailbox IS NOT NULL)),
    CHECK (right(address, length(domain) + 1) = '@' || domain)
);
CREATE UNIQUE INDEX addresses_primary ON posthorn.addresses (mailbox) WHERE kind = 'mailbox';
CREATE INDEX addresses_mailbox ON posthorn.addresses (mailbox) WHERE mailbox IS NOT NULL;
CREATE INDEX addresses_domain ON posthorn.addresses (domain);

-- One row each.
CREATE TABLE posthorn.settings (
    id         boolean PRIMARY KEY DEFAULT true CHECK (id),
    postmaster text COLLATE "C"                      -- gets postmaster@ and abuse@ of every hosted domain
);
INSERT INTO posthorn.settings DEFAULT VALUES;

-- Written every second on the leader, so that each member can tell how old its view is. No row is put in here:
-- a database whose heartbeat has never beaten has no replica that could be behind.
CREATE TABLE posthorn.heartbeat (
    id   boolean PRIMARY KEY DEFAULT true CHECK (id),
    beat timestamptz NOT NULL
) WITH (fillfactor = 10);
