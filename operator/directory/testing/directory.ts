/** A migrated directory on a test server, and rows to put into it. */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Directory, openDirectory } from '../directory.js';
import type { ForwardRow, MailboxInventory, MailboxRow, ShardRow } from '../rows.js';
import { type PostgresOptions, startPostgres, type TestPostgres } from './postgres.js';

export interface TestDirectory {
  readonly server: TestPostgres;
  readonly directory: Directory;
  stop(): Promise<void>;
}

export const DOMAIN_OBJECT = { uid: 'domain-uid', namespace: 'mail', name: 'example.org' };

/** A server whose directory hosts example.org and example.net on the shard `a`. */
export async function startDirectory(options: PostgresOptions = {}): Promise<TestDirectory> {
  const server = await startPostgres(options);
  const directory = openDirectory({ host: '127.0.0.1', port: server.port });
  await directory.migrate();
  await directory.projectShards([shard('a')]);
  await directory.projectDomains(
    ['example.org', 'example.net'].map((domain) => ({ domain, object: DOMAIN_OBJECT, dkimSelector: null })),
  );
  return {
    server,
    directory,
    stop: async () => {
      await directory.close();
      await server.stop();
    },
  };
}

/** A shard. `members`: with so many, which the directory knows. */
export function shard(name: string, members?: number): ShardRow {
  const host = `mail-store-${name}.mail.svc.cluster.local`;
  const ports = { lmtpPort: 10024, imapPort: 10143, sievePort: 14190 };
  if (members === undefined) return { name, host, ...ports };
  const ordinals = Array.from({ length: members }, (_, member) => member);
  return { name, host, ...ports, members: ordinals.map((member) => ({ member, host: memberHost(name, member) })) };
}

export function memberHost(shardName: string, member: number): string {
  return `mail-store-${shardName}-${member}.mail-store-${shardName}.mail.svc.cluster.local`;
}

/** A mailbox `name@example.org`. `age`: an elder object has a greater one. */
export function mailbox(name: string, { age = 0, ...rest }: Partial<MailboxRow> & { age?: number } = {}): MailboxRow {
  const uid = randomUUID();
  return {
    uuid: uid,
    address: `${name}@example.org`,
    aliases: [],
    shard: 'a',
    quotaBytes: null,
    deletionPolicy: 'Retain',
    object: { uid, namespace: 'mail', name },
    createdAt: new Date(Date.UTC(2026, 0, 1) - age * 1000).toISOString(),
    adopt: false,
    ...rest,
  };
}

/** A forward `name@example.org` to outside.test. `age` as for `mailbox`. */
export function forward(name: string, { age = 0, ...rest }: Partial<ForwardRow> & { age?: number } = {}): ForwardRow {
  return {
    address: `${name}@example.org`,
    to: [`${name}@outside.test`],
    couriers: [],
    keepCopy: null,
    sendAs: null,
    require: null,
    object: { uid: randomUUID(), namespace: 'mail', name },
    createdAt: new Date(Date.UTC(2026, 0, 1) - age * 1000).toISOString(),
    ...rest,
  };
}

/** Rows of a function of directory_v1, asked by a role. */
export function callOn(server: TestPostgres, role: string, name: string, values: unknown[]) {
  const places = values.map((_, i) => `$${i + 1}`).join(', ');
  return server.query(`posthorn_${role}`, `SELECT * FROM directory_v1.${name}(${places})`, values);
}

/** A time from now, RFC 3339. */
export function inSeconds(seconds: number): string {
  return new Date(Date.now() + seconds * 1000).toISOString();
}

/** Every mailbox of the directory. */
export async function inventory({ directory }: TestDirectory): Promise<MailboxInventory[]> {
  const all: MailboxInventory[] = [];
  for await (const page of directory.listMailboxes()) all.push(...page);
  return all;
}

/** What became of each row; why, if the database doesn't take it. */
export async function projectInto({ directory }: TestDirectory, ...rows: MailboxRow[]): Promise<string[]> {
  const { value } = await directory.projectMailboxes(rows);
  return value.map(({ result, message }) => message ?? result);
}

/** Waits until the replicas have replayed everything. */
export async function caughtUp({ directory }: TestDirectory): Promise<void> {
  const lsn = await directory.currentLsn();
  const deadline = Date.now() + 10_000;
  while (!(await directory.replayedEverywhere(lsn)).ok) {
    if (Date.now() > deadline) throw new Error('the replica has not replayed everything in 10 s');
    await sleep(20);
  }
}

/** Write the heartbeat as if it had last beaten so many seconds ago. */
export async function setHeartbeatAge(server: TestPostgres, seconds: number): Promise<void> {
  await server.query(
    'posthorn',
    `INSERT INTO posthorn.heartbeat (beat) VALUES (clock_timestamp() - make_interval(secs => $1))
     ON CONFLICT (id) DO UPDATE SET beat = excluded.beat`,
    [seconds],
  );
}
