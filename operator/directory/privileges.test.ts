import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { shard, startDirectory, type TestDirectory } from './testing/directory.js';

/** docs/reference/directory.md has the same table for people. */
const MAY: Record<string, readonly string[]> = {
  posthorn_mx: ['rcpt_verdict', 'recipient', 'hosted_domain', 'alias', 'route'],
  posthorn_submission: [
    'submission_rcpt_verdict',
    'recipient',
    'hosted_domain',
    'sender_logins',
    'login',
    'credentials',
    'sending',
    'report_incident',
    'revoked',
  ],
  posthorn_egress: ['hosted_domain'],
  posthorn_forward: ['hosted_domain', 'forward_targets', 'delivered_to', 'srs_sender'],
  posthorn_courier: ['courier_target'],
  posthorn_proxy: ['login', 'credentials', 'revoked', 'shard_epochs'],
  posthorn_store: [
    ...['userdb', 'declared_sieve', 'sieve_result', 'quota_state', 'purgeable', 'purged', 'revoked'],
    ...['lease', 'renew_lease', 'take_lease', 'release_lease', 'register_member', 'report_member', 'member_seeded'],
    ...[
      'report_replication',
      'mailbox_of',
      'address_of',
      'moves',
      'move_step',
      'move_target',
      'purge_list',
      'purge_done',
      'store_user',
      'lives_here',
      'shard_mailboxes',
    ],
  ],
  posthorn_heartbeat: ['heartbeat'],
};

const NOBODY = '00000000-0000-0000-0000-000000000000';

/** One for each object of the schema; a test looks whether any is missing. */
const STATEMENTS: Record<string, string> = {
  rcpt_verdict: "SELECT directory_v1.rcpt_verdict('a@example.org')",
  submission_rcpt_verdict: "SELECT directory_v1.submission_rcpt_verdict('a@example.org')",
  recipient: "SELECT * FROM directory_v1.recipient('a@example.org')",
  hosted_domain: "SELECT directory_v1.hosted_domain('example.org')",
  alias: "SELECT directory_v1.alias('a@example.org')",
  route: "SELECT directory_v1.route('a@example.org')",
  forward_targets: "SELECT directory_v1.forward_targets('a@example.org')",
  delivered_to: "SELECT directory_v1.delivered_to('a@example.org')",
  srs_sender: "SELECT directory_v1.srs_sender('a@example.org')",
  courier_target: "SELECT directory_v1.courier_target('a')",
  sender_logins: "SELECT directory_v1.sender_logins('a@example.org')",
  login: "SELECT * FROM directory_v1.login('a@example.org')",
  credentials: "SELECT * FROM directory_v1.credentials('a@example.org')",
  sending: "SELECT * FROM directory_v1.sending('a@example.org')",
  report_incident: "SELECT directory_v1.report_incident('a@example.org', 'spam', '', NULL)",
  revoked: "SELECT * FROM directory_v1.revoked('-infinity')",
  userdb: 'SELECT * FROM directory_v1.userdb',
  declared_sieve: "SELECT * FROM directory_v1.declared_sieve('a', '-infinity')",
  sieve_result: `SELECT directory_v1.sieve_result('${NOBODY}', 'x', NULL)`,
  quota_state: `SELECT directory_v1.quota_state('${NOBODY}', true)`,
  purgeable: "SELECT * FROM directory_v1.purgeable('a')",
  purged: `SELECT directory_v1.purged('${NOBODY}')`,
  heartbeat: 'SELECT directory_v1.heartbeat()',
  shard_epochs: 'SELECT * FROM directory_v1.shard_epochs()',
  store_user: "SELECT * FROM directory_v1.store_user('a@example.org', 'a', 'lmtp')",
  lives_here: `SELECT directory_v1.lives_here('${NOBODY}', 'a')`,
  shard_mailboxes: "SELECT * FROM directory_v1.shard_mailboxes('a')",
  lease: "SELECT directory_v1.lease('a')",
  renew_lease: `SELECT directory_v1.renew_lease('a', 0, '${NOBODY}', 1)`,
  take_lease: `SELECT directory_v1.take_lease('a', 0, '${NOBODY}', '${NOBODY}', 1, 1)`,
  release_lease: `SELECT directory_v1.release_lease('a', 0, '${NOBODY}', 1, NULL)`,
  register_member: `SELECT directory_v1.register_member('a', 0, '${NOBODY}', 0)`,
  report_member: `SELECT directory_v1.report_member('a', 0, '${NOBODY}', '{}')`,
  member_seeded: `SELECT directory_v1.member_seeded('a', '${NOBODY}', 1, 0, '${NOBODY}', true)`,
  report_replication: `SELECT directory_v1.report_replication('a', '${NOBODY}', 1, '{}')`,
  mailbox_of: "SELECT directory_v1.mailbox_of('a@example.org')",
  address_of: `SELECT directory_v1.address_of('${NOBODY}')`,
  moves: "SELECT * FROM directory_v1.moves('a')",
  move_step: `SELECT directory_v1.move_step('${NOBODY}', 'a', '${NOBODY}', 1, 'syncing', 'switching', NULL)`,
  move_target: "SELECT directory_v1.move_target('a@example.org', 'a')",
  purge_list: "SELECT * FROM directory_v1.purge_list('a', '-infinity')",
  purge_done: `SELECT directory_v1.purge_done('a', 0, '${NOBODY}')`,
};

let test: TestDirectory;

beforeAll(async () => {
  test = await startDirectory();
  await test.directory.projectShards([shard('a', 1)]);
  await test.server.query('postgres', 'CREATE ROLE stranger LOGIN');
});

afterAll(async () => {
  await test?.stop();
});

/** SQLSTATE of what a statement fails with; undefined when it works. */
async function failure(role: string, sql: string): Promise<string | undefined> {
  try {
    await test.server.query(role, sql);
    return undefined;
  } catch (error) {
    return (error as { code?: string }).code;
  }
}

const DENIED = '42501';

describe.each(Object.entries(MAY))('%s', (role, allowed) => {
  it('can use its own objects and no others', async () => {
    for (const [name, sql] of Object.entries(STATEMENTS)) {
      expect(await failure(role, sql), name).toBe(allowed.includes(name) ? undefined : DENIED);
    }
  });

  it('can read no table and call no inner function', async () => {
    const tables = await test.server.query<{ name: string }>(
      'posthorn',
      "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables WHERE schemaname = 'posthorn'",
    );
    expect(tables.length).toBeGreaterThan(13);
    for (const { name } of tables) {
      expect(await failure(role, `SELECT * FROM ${name}`), name).toBe(DENIED);
    }
    const calls = [
      ...["place('a@example.org')", 'fresh()', "holder('a@example.org')", "project_mailboxes('[]')"],
      ...["want_primary('a', 0)", `accept_volume('a', 0, '${NOBODY}')`, `start_move('${NOBODY}', 'a', 'x')`],
    ];
    for (const call of calls) {
      expect(await failure(role, `SELECT posthorn.${call}`), call).toBe(DENIED);
    }
  });

  it('can create nothing, and is nothing special', async () => {
    for (const schema of ['public', 'posthorn', 'directory_v1']) {
      expect(await failure(role, `CREATE TABLE ${schema}.mine (a int)`)).toBe(DENIED);
    }
    expect(await failure(role, 'CREATE TEMP TABLE mine (a int)')).toBe(DENIED);
    expect(await failure(role, 'SET ROLE posthorn')).toBe(DENIED);
    const rows = await test.server.query(
      'posthorn',
      'SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = $1',
      [role],
    );
    const no = {
      rolsuper: false,
      rolcreaterole: false,
      rolcreatedb: false,
      rolreplication: false,
      rolbypassrls: false,
    };
    expect(rows).toEqual([no]);
  });
});

it('every object of the schema is in this table', async () => {
  const rows = await test.server.query<{ name: string }>(
    'posthorn',
    `SELECT proname AS name FROM pg_proc WHERE pronamespace = 'directory_v1'::regnamespace
     UNION SELECT relname FROM pg_class WHERE relnamespace = 'directory_v1'::regnamespace AND relkind IN ('r', 'v', 'm')`,
  );
  expect(rows.map(({ name }) => name).sort()).toEqual(Object.keys(STATEMENTS).sort());
});

it('the store can change nothing through its view', async () => {
  expect(await failure('posthorn_store', 'UPDATE directory_v1.userdb SET quota_bytes = 1')).toBeDefined();
  expect(await failure('posthorn_store', 'DELETE FROM directory_v1.userdb')).toBeDefined();
});

it('a role that is none of ours cannot even connect', async () => {
  expect(await failure('stranger', 'SELECT 1')).toBe(DENIED);
});

it("every function that daemons call has a fixed search path and the owner's rights", async () => {
  const rows = await test.server.query(
    'posthorn',
    `SELECT proname FROM pg_proc WHERE pronamespace = 'directory_v1'::regnamespace
       AND (NOT prosecdef OR proconfig IS NULL OR proconfig::text NOT LIKE '%search_path=pg_catalog, pg_temp%')`,
  );
  expect(rows).toEqual([]);
});
