import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startDirectory, type TestDirectory } from './testing/directory.js';

/** docs/reference/directory.md has the same table for people. */
const MAY: Record<string, readonly string[]> = {
  posthorn_mx: ['rcpt_verdict', 'hosted_domain', 'alias', 'route'],
  posthorn_submission: ['submission_rcpt_verdict', 'hosted_domain', 'sender_logins', 'login'],
  posthorn_egress: ['hosted_domain'],
  posthorn_proxy: ['login'],
  posthorn_store: ['userdb', 'purgeable', 'purged'],
  posthorn_heartbeat: ['heartbeat'],
};

const STATEMENTS: Record<string, string> = {
  rcpt_verdict: "SELECT directory_v1.rcpt_verdict('a@example.org')",
  submission_rcpt_verdict: "SELECT directory_v1.submission_rcpt_verdict('a@example.org')",
  hosted_domain: "SELECT directory_v1.hosted_domain('example.org')",
  alias: "SELECT directory_v1.alias('a@example.org')",
  route: "SELECT directory_v1.route('a@example.org')",
  sender_logins: "SELECT directory_v1.sender_logins('a@example.org')",
  login: "SELECT * FROM directory_v1.login('a@example.org')",
  userdb: 'SELECT * FROM directory_v1.userdb',
  purgeable: "SELECT * FROM directory_v1.purgeable('a')",
  purged: "SELECT directory_v1.purged('00000000-0000-0000-0000-000000000000')",
  heartbeat: 'SELECT directory_v1.heartbeat()',
};

let test: TestDirectory;

beforeAll(async () => {
  test = await startDirectory();
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
    expect(tables.length).toBeGreaterThan(6);
    for (const { name } of tables) {
      expect(await failure(role, `SELECT * FROM ${name}`), name).toBe(DENIED);
    }
    const calls = ["resolve('a@example.org')", 'fresh()', "find('a@example.org')", "project_mailboxes('[]')"];
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
