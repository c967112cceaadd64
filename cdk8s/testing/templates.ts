import type { Templates } from '../template.js';

/**
 * Templates that stand in for the images' own where a test is about the objects: a snapshot must not
 * change because somebody tunes Postfix.
 */
export const FIXTURE_TEMPLATES: Templates = {
  postfix: {
    common: { 'main-common.cf': 'myhostname = @HOSTNAME@\n' },
    mx: { 'main.cf': 'hosts = @DIRECTORY_HOSTS@\n' },
    submission: { 'main.cf': 'hosts = @DIRECTORY_HOSTS@\nrelayhost = @EGRESS_HOST@\n' },
    egress: { 'main.cf': 'size = @MESSAGE_SIZE_LIMIT@\n' },
    forward: { 'main.cf': 'relayhost = @EGRESS_HOST@\ncourier = @COURIER_HOST@\n' },
  },
  rspamd: {
    filter: { 'actions.conf': 'reject = @REJECT_SCORE@;\ngreylist = @GREYLIST_SCORE@;\n' },
    outbound: { 'rspamd.conf': '# outbound\n' },
    signer: { 'dkim.conf': 'system = "@SYSTEM@";\n' },
  },
  unbound: { resolver: { 'unbound.conf': 'dns = @CLUSTER_DNS@\n@RESOLVER_CONFIG@\n' } },
  tunnel: {
    common: { 'resolvers.cfg': 'nameserver cluster @CLUSTER_DNS@:53\n' },
    redis: { 'haproxy.cfg': 'server redis @REDIS_HOST@:6379\n' },
    mx: { 'haproxy.cfg': 'server redis @REDIS_HOST@:6379\n' },
    store: { 'haproxy.cfg': '# shard @SHARD@: @LMTP_PORT@\n' },
  },
  posthorn: {
    gatekeeper: { 'gatekeeper.yaml': 'role: @ROLE@\nldap: @LDAP@\n' },
    courier: { 'courier.yaml': 'allowHosts: @WEBHOOK_ALLOW_HOSTS@\n' },
    deposit: { 'deposit.yaml': 'shard: @SHARD@\n' },
    replicator: { 'replicator.yaml': 'shard: @SHARD@\n' },
  },
  dovecot: {
    common: { 'common.conf': 'hosts = @DIRECTORY_HOSTS@\n' },
    proxy: { 'dovecot.conf': '# proxy\n' },
    store: { 'dovecot.conf': 'shard = @SHARD@\nreplicas = @REPLICAS@\nexecutable = imap @POST_LOGIN@\n' },
    auth: { 'dovecot.conf': '# auth\n' },
  },
  postgres: {
    member: { 'patroni.yml': 'scope: @SYSTEM@-postgres\n' },
    pgbouncer: { 'pgbouncer.ini': 'listen_port = @DIRECTORY_PORT@\n' },
    pooler: { 'pgbouncer.ini': 'listen_port = @DIRECTORY_PORT@\n' },
  },
  redis: { redis: { 'redis.conf': 'port 0\n' } },
};
