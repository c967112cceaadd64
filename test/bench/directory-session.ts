import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { exec, kubeconfigPath } from '../e2e/lib/kube.js';
import { domain, namespace, podOf, uuidFrom } from './system.js';

/** Rows that were made by hand belong to a namespace that no operator compares with its Mailboxes. */
const OWNER = 'bench-by-hand';

const DONE = 'statements-are-done';

export interface DirectorySession {
  /** Writes what a mailbox needs, in one transaction. Resolves when it is committed. */
  insertMailbox(name: string, address: string, hash: string): Promise<void>;
  removeMailboxes(): Promise<void>;
  close(): Promise<void>;
}

/** A psql as the directory's owner, on the leader's socket, as an administrator would open one. */
export async function openDirectory(): Promise<DirectorySession> {
  const leader = await podOf('postgres', ',role=primary');
  const kubectl = (await exec('./hack/tool', ['kubectl'])).stdout.trim();
  const psql = ['psql', '-X', '-q', '-h', '/run/postgresql', '-U', 'posthorn', '-v', 'ON_ERROR_STOP=1', 'posthorn'];
  const args = ['exec', '-i', '-n', namespace, leader, '-c', 'postgres', '--', ...psql];
  const child = spawn(kubectl, args, {
    env: { ...process.env, KUBECONFIG: kubeconfigPath() },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const run = createRunner(child);
  await run('');
  return {
    insertMailbox: (name, address, hash) => run(insertion(name, address, hash)),
    removeMailboxes: () => run(`DELETE FROM posthorn.mailboxes WHERE object_namespace = '${OWNER}';\n`),
    close: async () => {
      child.stdin.end();
      await ended;
    },
  };
}

/** Sends statements to a psql; each call resolves when psql has gone through its own. */
function createRunner(child: ChildProcessByStdio<Writable, Readable, null>): (sql: string) => Promise<void> {
  const waiting: { resolve: () => void; reject: (error: Error) => void }[] = [];
  let output = '';
  let ended: Error | undefined;
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
    for (let at = output.indexOf(DONE); at >= 0; at = output.indexOf(DONE)) {
      output = output.slice(at + DONE.length);
      waiting.shift()?.resolve();
    }
  });
  child.stdin.on('error', () => undefined);
  child.once('close', (code) => {
    ended = new Error(`the psql in the leader's pod ended with ${code}; did the database change its leader?`);
    for (const { reject } of waiting.splice(0)) reject(ended);
  });
  return async (sql) => {
    if (ended !== undefined) throw ended;
    child.stdin.write(`${sql}\\echo ${DONE}\n`);
    await new Promise<void>((resolve, reject) => waiting.push({ resolve, reject }));
  };
}

function insertion(name: string, address: string, hash: string): string {
  const uuid = uuidFrom(name);
  return `BEGIN;
INSERT INTO posthorn.mailboxes (uuid, address, shard, password, password_source, object_uid, object_namespace, object_name)
  VALUES ('${uuid}', '${address}', 'a', '${hash}', 'by hand', '${uuid}', '${OWNER}', '${name}');
INSERT INTO posthorn.addresses (address, domain, kind, mailbox, claimed_at, claimant)
  VALUES ('${address}', '${domain}', 'mailbox', '${uuid}', now(), '${uuid}');
COMMIT;
`;
}
