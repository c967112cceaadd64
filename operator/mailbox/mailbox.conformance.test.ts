import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sieveHash } from '../directory/inventory.js';
import { startPostgres, type TestPostgres } from '../directory/testing/postgres.js';
import type { Client } from '../runtime/client.js';
import { builtin, type KubeObject } from '../runtime/object.js';
import { createNamespace, eventually, installCrds, sharedClient } from '../runtime/testing/shared.js';
import { CRDS, type Kubectl, kubectl, startOperator, type TestOperator } from '../testing/operator.js';

let client: Client;
let namespace: string;
let postgres: TestPostgres;
let operator: TestOperator;
let k: Kubectl;
let beating: NodeJS.Timeout;

beforeAll(async () => {
  client = await sharedClient();
  await installCrds(client, CRDS);
  namespace = await createNamespace(client, 'mailbox');
  postgres = await startPostgres();
  k = kubectl(client, namespace);
  await k.system('mail');
  await k.domain('example.org');
  operator = await startOperator({ namespace, postgres });
  await k.until('domain', 'example.org', 'Ready', 'True');
  const beat = () => postgres.query('posthorn_heartbeat', 'SELECT directory_v1.heartbeat()').catch(() => undefined);
  await beat();
  beating = setInterval(beat, 2_000);
});
afterAll(async () => {
  clearInterval(beating);
  await operator?.stop();
  await postgres?.stop();
  client?.close();
});

interface Credentials {
  state: string;
  may_login: boolean;
  credentials: { id: string; hash: string; protocols: string[] | null }[];
  ldap: string | null;
}

async function credentials(name: string): Promise<Credentials> {
  const rows = await postgres.query<Credentials>('posthorn_proxy', 'SELECT * FROM directory_v1.credentials($1)', [
    `${name}@example.org`,
  ]);
  return rows[0] as Credentials;
}

const ids = async (name: string) => (await credentials(name)).credentials.map(({ id }) => id);

async function uuidOf(name: string): Promise<string> {
  return (await k.get('mailbox', name)).status?.uuid ?? '';
}

const statusWrites = (name: string): number =>
  operator.proxy.writes().filter(({ path }) => path.includes(`/mailboxes/${name}/status`)).length;

/** `REASON: message` of the Events about a Mailbox. */
async function told(name: string): Promise<string[]> {
  const { items } = await client.list<
    KubeObject & { reason: string; message: string; involvedObject: { name: string } }
  >(builtin.event, { namespace });
  return items
    .filter(({ involvedObject }) => involvedObject.name === name)
    .map(({ reason, message }) => `${reason}: ${message}`);
}

const untilTold = (name: string, text: string | RegExp) =>
  eventually(async () => expect((await told(name)).join('\n')).toMatch(text), 30_000);

const inSeconds = (seconds: number) => `${new Date(Date.now() + seconds * 1000).toISOString().slice(0, 19)}Z`;

describe('a state', () => {
  it('is in effect when it is said to be, is told with its author, and ends by itself', async () => {
    await k.mailbox('ann');
    await k.until('mailbox', 'ann', 'Ready', 'True');
    expect(await told('ann')).toEqual([]);
    const stateUntil = inSeconds(5);
    await k.patch('mailbox', 'ann', { spec: { state: 'Suspended', stateUntil } });
    const { status } = await k.until('mailbox', 'ann', 'Ready', 'True');
    expect(status).toMatchObject({
      state: 'Suspended',
      detail: expect.stringMatching(/^Suspended until .*UTC, shard a$/),
    });
    expect(await credentials('ann')).toMatchObject({ state: 'Suspended', may_login: false });
    await untilTold('ann', /^StateChanged: Active → Suspended until .*, set by test: nobody can log in/m);

    await eventually(async () => {
      const after = (await k.get('mailbox', 'ann')).status;
      expect(after).toMatchObject({ state: 'Active', detail: expect.stringContaining('Active (Suspended ended') });
    }, 15_000);
    expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(stateUntil));
    expect((await credentials('ann')).may_login).toBe(true);
    await untilTold('ann', /^StateEnded: /m);
    expect(statusWrites('ann')).toBe(3);
    expect(await told('ann')).toHaveLength(2);
  });

  it('whose time is over when it is declared has no effect, which is said', async () => {
    await k.mailbox('late', { state: 'LoginOff', stateUntil: '2026-01-01T00:00:00Z' });
    const { status } = await k.until('mailbox', 'late', 'Ready', 'True');
    expect(status?.conditions?.find((c) => c.type === 'Ready')?.message).toContain('has no effect any more');
    expect((await credentials('late')).may_login).toBe(true);
    await untilTold('late', /^StateUntilPassed: spec.stateUntil 2026-01-01 00:00 UTC is in the past/m);
    expect((await told('late')).join()).not.toContain('StateChanged');
  });
});

describe('app passwords', () => {
  const app = (name: string, more: object = {}) => ({ name, secretRef: { name: 'ben', key: name }, ...more });

  it('come, change and go one by one, and a missing one is named', async () => {
    await k.secret('ben', 'a password');
    await k.patch('secret', 'ben', { stringData: { phone: 'Zm9vYmFy0123456789abcdefgh', printer: 'short' } });
    await k.mailbox('ben', { appPasswords: [app('phone'), app('printer', { protocols: ['submission'] })] });
    await k.until('mailbox', 'ben', 'Ready', 'True');
    const before = (await credentials('ben')).credentials;
    expect(before).toMatchObject([
      { id: 'app/phone', hash: expect.stringMatching(/^\{SSHA512\}/), protocols: null },
      { id: 'app/printer', hash: expect.stringMatching(/^\{ARGON2ID\}/), protocols: ['submission'] },
    ]);

    await k.patch('mailbox', 'ben', { spec: { appPasswords: [app('phone'), app('tablet')] } });
    const { status } = await k.until('mailbox', 'ben', 'PasswordReady', 'False', 'KeyNotFound');
    expect(status?.detail).toContain('tablet');
    expect(await ids('ben')).toEqual(['app/phone']);
    expect((await credentials('ben')).credentials[0]).toEqual(before[0]);

    const changed = Date.now();
    await k.patch('secret', 'ben', { stringData: { tablet: 'another' } });
    await k.until('mailbox', 'ben', 'Ready', 'True');
    // By the Secret's own event, not by the comparison that comes now and then.
    expect(Date.now() - changed).toBeLessThan(3_000);
    expect(await ids('ben')).toEqual(['app/phone', 'app/tablet']);
    await k.patch('mailbox', 'ben', { spec: { appPasswords: [] } });
    await eventually(async () => expect(await ids('ben')).toEqual([]));
  });

  it('a hash as programs print it is the password', async () => {
    const hash = `$2y$10$${'a'.repeat(53)}`;
    await k.secret('cleo', hash);
    await k.mailbox('cleo', { passwordSecretRef: { name: 'cleo' } });
    await k.until('mailbox', 'cleo', 'Ready', 'True');
    expect((await credentials('cleo')).credentials[0]?.hash).toBe(`{BLF-CRYPT}${hash}`);
  });
});

describe('a shared mailbox', () => {
  it('waits for its members, who may then send as it', async () => {
    await k.mailbox('press', { members: [{ mailbox: 'dora', sendAs: true }] });
    await k.until('mailbox', 'press', 'MembersReady', 'False', 'MemberNotFound');
    await k.mailbox('dora');
    await k.until('mailbox', 'press', 'Ready', 'True');
    const logins = async () =>
      (
        await postgres.query<{ logins: string }>(
          'posthorn_submission',
          'SELECT directory_v1.sender_logins($1) AS logins',
          ['press@example.org'],
        )
      )[0]?.logins.split(',');
    expect(await logins()).toContain('dora@example.org');

    await k.patch('mailbox', 'press', { spec: { members: null } });
    await eventually(async () => expect(await logins()).not.toContain('dora@example.org'));
    await eventually(async () => {
      const { status } = await k.get('mailbox', 'press');
      expect(status?.conditions?.map(({ type }) => type)).not.toContain('MembersReady');
    });
  });

  it('notices that a member went', async () => {
    await k.mailbox('team', { members: [{ mailbox: 'dora' }] });
    await k.until('mailbox', 'team', 'MembersReady', 'True', 'Shared');
    await k.delete('mailbox', 'dora');
    await k.until('mailbox', 'team', 'MembersReady', 'False', 'MemberNotFound');
  });
});

describe('what stores and gatekeepers say', () => {
  const script = 'require "fileinto";\nfileinto "x";\n';

  it('a script is in effect when the store says so; an error is quoted with the line that a person wrote', async () => {
    await k.mailbox('eve', { sieve: script, vacation: { message: 'Away.' } });
    await k.until('mailbox', 'eve', 'SieveReady', 'Unknown', 'Pending');
    const [declared] = await postgres.query<{ script: string; hash: string }>(
      'posthorn_store',
      "SELECT script, hash FROM directory_v1.declared_sieve('a', '-infinity')",
    );
    const { script: text = '', hash = '' } = declared ?? {};
    expect(hash).toBe(sieveHash(text));
    const line = text.split('\n').indexOf('fileinto "x";') + 1;
    expect(line).toBeGreaterThan(2);
    const answered = Date.now();
    await answer('eve', hash, `declared: line ${line}: error: oops`);
    const { status } = await k.until('mailbox', 'eve', 'SieveReady', 'False', 'CompileError');
    // By the question for it, not by the comparison that comes now and then.
    expect(Date.now() - answered).toBeLessThan(10_000);
    expect(status?.conditions?.find((c) => c.type === 'SieveReady')?.message).toContain('line 2: error: oops');
    await untilTold('eve', /^CompileError: /m);

    await k.patch('mailbox', 'eve', { spec: { sieve: null, vacation: null } });
    await k.until('mailbox', 'eve', 'Ready', 'True');
    const after = (await k.get('mailbox', 'eve')).status?.conditions?.map(({ type }) => type);
    expect(after).not.toContain('SieveReady');
  });

  it('an account that was stopped is told of, and again when it may send', async () => {
    await k.mailbox('fay', { sieve: script });
    await k.until('mailbox', 'fay', 'SieveReady', 'Unknown', 'Pending');
    await postgres.query('posthorn_submission', 'SELECT directory_v1.report_incident($1, $2, $3, $4)', [
      'fay@example.org',
      'Rate',
      '900 recipients in 5 min.',
      new Date(Date.now() + 20_000),
    ]);
    await answer('fay', sieveHash(script), null);
    const { status } = await k.until('mailbox', 'fay', 'Sending', 'False', 'Throttled');
    expect(status?.detail).toMatch(/^Active, may not send until /);
    await k.until('mailbox', 'fay', 'Ready', 'True');
    await untilTold('fay', /^SendingThrottled: Rate: 900 recipients in 5 min\. It may not send until/m);
    await eventually(async () => {
      const types = (await k.get('mailbox', 'fay')).status?.conditions?.map(({ type }) => type);
      expect(types).not.toContain('Sending');
    }, 30_000);
    await untilTold('fay', /^SendingAllowed: /m);
  });

  it('a mailbox that is full says so', async () => {
    await k.mailbox('ivy', { quota: '1Mi', sieve: script });
    await k.until('mailbox', 'ivy', 'SieveReady', 'Unknown', 'Pending');
    const set = async (over: boolean) =>
      postgres.query('posthorn_store', 'SELECT directory_v1.quota_state($1, $2)', [await uuidOf('ivy'), over]);
    await set(true);
    await k.until('mailbox', 'ivy', 'Receiving', 'False', 'Full');
    await untilTold('ivy', /^MailboxFull: /m);
    await set(false);
    await untilTold('ivy', /^MailboxHasRoom: /m);
  });

  it('a person may let it send again', async () => {
    await k.mailbox('gil', { sieve: script });
    await k.until('mailbox', 'gil', 'SieveReady', 'Unknown', 'Pending');
    await postgres.query('posthorn_submission', 'SELECT directory_v1.report_incident($1, $2, $3, $4)', [
      'gil@example.org',
      'Rate',
      '900 recipients in 5 min.',
      new Date(Date.now() + 3_600_000),
    ]);
    await k.until('mailbox', 'gil', 'Sending', 'False', 'Throttled');
    await sleep(1_000);
    const annotations = { 'posthorn.dev/pardoned': inSeconds(0) };
    await k.patch('mailbox', 'gil', { metadata: { annotations }, spec: {} });
    await untilTold('gil', /^SendingAllowed: /m);
    const [row] = await postgres.query<{ state: string }>(
      'posthorn_submission',
      "SELECT state FROM directory_v1.sending('gil@example.org')",
    );
    expect(row?.state).toBe('Active');
  });

  async function answer(name: string, hash: string, error: string | null): Promise<void> {
    await postgres.query('posthorn_store', 'SELECT directory_v1.sieve_result($1, $2, $3)', [
      await uuidOf(name),
      hash,
      error,
    ]);
  }
});

describe('LDAP', () => {
  it('checks the passwords of those without a Secret; the MailSystem says whether its Secrets are there', async () => {
    const ldap = { url: 'ldap://db.example.org', baseDN: 'dc=example,dc=org', bindSecretRef: { name: 'bind' } };
    await k.patch('system', 'mail', { spec: { ldap } });
    await k.until('system', 'mail', 'LDAPReady', 'False', 'SecretNotFound');
    await k.until('mailbox', 'ann', 'PasswordReady', 'True', 'FromLDAP');
    await k.until('mailbox', 'cleo', 'PasswordReady', 'True', 'FromSecret');
    expect([(await credentials('ann')).ldap, (await credentials('cleo')).ldap]).toEqual(['ann@example.org', null]);
    await k.secret('bind', 'x');
    await k.until('system', 'mail', 'LDAPReady', 'False', 'KeyNotFound');
    await k.patch('secret', 'bind', { stringData: { username: 'cn=posthorn' } });
    await k.until('system', 'mail', 'LDAPReady', 'True', 'Configured');

    await k.patch('system', 'mail', { spec: { ldap: null } });
    await k.until('mailbox', 'ann', 'PasswordReady', 'True', 'NotDeclared');
    expect((await credentials('ann')).ldap).toBeNull();
    await eventually(async () => {
      const types = (await k.get('system', 'mail')).status?.conditions?.map(({ type }) => type);
      expect(types).not.toContain('LDAPReady');
    });
  });
});

it('a restart writes nothing of all this', async () => {
  await eventually(async () => {
    const before = operator.proxy.writes().length;
    await sleep(4_000);
    expect(operator.proxy.writes().length).toBe(before);
  }, 40_000);
  await operator.stop();
  operator = await startOperator({ namespace, postgres });
  await eventually(() => expect(operator.calls('projectMailboxes')).toBeGreaterThan(0));
  await sleep(4_000);
  expect(operator.proxy.writes()).toEqual([]);
});
