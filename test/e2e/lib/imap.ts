import { ImapFlow } from 'imapflow';
import { waitFor } from './kube.js';
import type { Target } from './smtp.js';

export interface Login {
  user: string;
  pass: string;
}

export interface ImapTarget extends Target {
  /** Certificate authority to trust, PEM. */
  ca?: string;
  serverName?: string;
}

/** Logs in with a real client library, does something, logs out. Rejects when the login is refused. */
export async function withImap<T>(target: ImapTarget, auth: Login, work: (client: ImapFlow) => Promise<T>): Promise<T> {
  const client = imapClient(target, auth);
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.logout().catch(() => client.close());
  }
}

export function imapClient({ host, port, ca, serverName }: ImapTarget, auth: Login): ImapFlow {
  const client = new ImapFlow({
    host,
    port,
    secure: true,
    auth,
    logger: false,
    ...(serverName === undefined ? {} : { servername: serverName }),
    tls: ca === undefined ? { rejectUnauthorized: false } : { ca },
    connectionTimeout: 20_000,
    greetingTimeout: 20_000,
    socketTimeout: 60_000,
  });
  // Errors after the connection is made are told through the pending command as well.
  client.on('error', () => undefined);
  return client;
}

/** Whether a login works now. */
export async function canLogIn(target: ImapTarget, auth: Login): Promise<boolean> {
  try {
    return await withImap(target, auth, async () => true);
  } catch {
    return false;
  }
}

/** Raw messages of a folder whose header has this value. */
export async function findMessages(
  target: ImapTarget,
  auth: Login,
  header: [string, string],
  folder = 'INBOX',
): Promise<string[]> {
  return withImap(target, auth, async (client) => {
    const lock = await client.getMailboxLock(folder);
    try {
      const uids = (await client.search({ header: { [header[0]]: header[1] } }, { uid: true })) || [];
      const found: string[] = [];
      if (uids.length === 0) return found;
      for await (const message of client.fetch(uids, { source: true }, { uid: true }))
        found.push(message.source?.toString('utf8') ?? '');
      return found;
    } finally {
      lock.release();
    }
  });
}

/** Waits until a message with this Message-ID is there. */
export function waitForMessage(
  target: ImapTarget,
  auth: Login,
  messageId: string,
  folder = 'INBOX',
  timeoutMs = 45_000,
): Promise<string> {
  return waitFor(
    `message ${messageId} in ${folder} of ${auth.user}`,
    async () => (await findMessages(target, auth, ['Message-ID', messageId], folder))[0],
    timeoutMs,
  );
}

/** Message-IDs of everything in a folder, in order. */
export async function messageIds(target: ImapTarget, auth: Login, folder = 'INBOX'): Promise<string[]> {
  return withImap(target, auth, async (client) => {
    const lock = await client.getMailboxLock(folder);
    try {
      const ids: string[] = [];
      if (client.mailbox !== false && client.mailbox.exists === 0) return ids;
      for await (const message of client.fetch('1:*', { envelope: true })) ids.push(message.envelope?.messageId ?? '');
      return ids;
    } finally {
      lock.release();
    }
  });
}
