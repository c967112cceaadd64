/** A migrated directory on a test server, and rows to put into it. */
import { randomUUID } from 'node:crypto';
import { type Directory, openDirectory } from '../directory.js';
import type { ForwardRow, MailboxRow } from '../rows.js';
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

export function shard(name: string) {
  const host = `mail-store-${name}.mail.svc.cluster.local`;
  return { name, host, lmtpPort: 10024, imapPort: 10143, sievePort: 14190 };
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

/** Write the heartbeat as if it had last beaten so many seconds ago. */
export async function setHeartbeatAge(server: TestPostgres, seconds: number): Promise<void> {
  await server.query(
    'posthorn',
    `INSERT INTO posthorn.heartbeat (beat) VALUES (clock_timestamp() - make_interval(secs => $1))
     ON CONFLICT (id) DO UPDATE SET beat = excluded.beat`,
    [seconds],
  );
}
