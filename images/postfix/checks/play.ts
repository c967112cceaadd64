import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { dkimVerify } from 'mailauth/lib/dkim/verify.js';
import { type Client, open, transaction } from './smtp.js';
import { HOSTNAME, IP, type Role, type Stage } from './stage.js';
import type { Delivery, Sink } from './world.js';

/** What checks play with. */
export interface World {
  readonly stage: Stage;
  store: Sink;
  courier: Sink;
  readonly outside: Sink;
}
export type Check = (world: World) => Promise<void>;

export async function until<T>(
  what: string,
  probe: () => T | undefined | false | Promise<T | undefined | false>,
  seconds = 60,
): Promise<T> {
  for (const end = Date.now() + seconds * 1000; Date.now() < end; await sleep(250)) {
    const value = await probe();
    if (value) return value;
  }
  throw new Error(`not within ${seconds} s: ${what}`);
}

export const withSubject = (sink: Sink, subject: string): Delivery | undefined =>
  sink.deliveries.find(({ raw }) => raw.includes(`Subject: ${subject}\r\n`));

export interface Queued {
  readonly queue_name: string;
  readonly sender: string;
  readonly recipients: { readonly address: string; readonly delay_reason?: string }[];
}

export async function queue(stage: Stage, role: Role): Promise<Queued[]> {
  return (await stage.exec(role, 'postqueue', '-j'))
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Queued);
}

/** Why mail for a recipient whose address begins so waits in a role’s queue. */
export const waits = (stage: Stage, role: Role, address: string): Promise<string> =>
  until(
    `mail for ${address} deferred at ${role}`,
    async () =>
      (await queue(stage, role))
        .flatMap(({ recipients }) => recipients)
        .find((recipient) => recipient.address.startsWith(address) && recipient.delay_reason)?.delay_reason,
  );

export async function mx(): Promise<Client> {
  const client = await open(IP.mx, 25);
  await client.send('EHLO client.outside.test');
  return client;
}

/** A session at 587 that is logged in. */
export async function submission(user = 'alice@example.org'): Promise<Client> {
  const client = await open(IP.submission, 587);
  await client.send('EHLO laptop');
  await client.startTls();
  await client.send('EHLO laptop');
  const reply = await client.send(`AUTH PLAIN ${Buffer.from(`\0${user}\0secret`).toString('base64')}`);
  assert.match(reply, /^235/);
  return client;
}

export async function submit(from: string, to: string, text: string, user?: string): Promise<string> {
  const client = await submission(user);
  const reply = await transaction(client, { from, to, message: text });
  client.close();
  return reply;
}

/** A session at an internal listener, with a certificate or without. */
export async function internal(stage: Stage, ip: string, identity?: string, port = 10025): Promise<Client> {
  const client = await open(ip, port);
  await client.send('EHLO peer');
  await client.startTls(identity === undefined ? undefined : stage.identities[identity]);
  await client.send('EHLO peer');
  return client;
}

/** Answer to RCPT, or the reason why the session never got there. */
export async function internalRcpt(
  stage: Stage,
  ip: string,
  identity: string | undefined,
  to: string,
  port = 10025,
  from = 'alice@example.org',
): Promise<string> {
  try {
    const client = await internal(stage, ip, identity, port);
    await client.send(`MAIL FROM:<${from}>`);
    const reply = await client.send(`RCPT TO:<${to}>`);
    client.close();
    return reply;
  } catch (error) {
    return `no session: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** Says the lines one after another and returns the first answer that is not a success, or the last. */
export async function firstRefusal(client: Client, lines: readonly string[]): Promise<string> {
  let reply = '';
  for (const line of lines) {
    reply = await client.send(line);
    if (!/^[23]/.test(reply)) break;
  }
  client.close();
  return reply;
}

export async function rcpt(to: string, from = 'someone@outside.test'): Promise<string> {
  const client = await mx();
  await client.send(`MAIL FROM:<${from}>`);
  const reply = await client.send(`RCPT TO:${to}`);
  client.close();
  return reply;
}

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const ed25519 = generateKeyPairSync('ed25519');

/** Fills the cache of signing keys as the operator does. (In pods all roles share one Redis.) */
export async function loadKeys(stage: Stage): Promise<void> {
  const pem = (key: typeof rsa.privateKey): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();
  const keys = ['s1.example.org', pem(rsa.privateKey), `h1.${HOSTNAME}`, pem(ed25519.privateKey)];
  for (const role of ['mx', 'egress'] as const) {
    await stage.redis(role, 'HSET', 'DKIM_SELECTORS', 'example.org', 's1', HOSTNAME, 'h1');
    await stage.redis(role, 'HSET', 'DKIM_KEYS', ...keys);
    await stage.redis(role, 'SET', 'posthorn:dkim:loaded', '1');
  }
}

/** Runs `change` and waits until a role has taken over the new list of peers or certificate. */
export async function untilReloaded<T>(stage: Stage, role: Role, change: () => T): Promise<T> {
  const reloads = async (): Promise<number> => (await stage.logs(role)).split('reload -- version').length;
  const before = await reloads();
  const result = change();
  await until(`reload of ${role}`, async () => (await reloads()) > before, 30);
  return result;
}

/** Verdicts of an independent verifier, `domain=result`. */
export async function signatures(raw: string): Promise<string[]> {
  const spki = (key: typeof rsa.publicKey): string => key.export({ type: 'spki', format: 'der' }).toString('base64');
  const jwk = ed25519.publicKey.export({ format: 'jwk' });
  const keys: Record<string, string> = {
    's1._domainkey.example.org': `v=DKIM1; k=rsa; p=${spki(rsa.publicKey)}`,
    [`h1._domainkey.${HOSTNAME}`]: `v=DKIM1; k=ed25519; p=${Buffer.from(jwk.x ?? '', 'base64url').toString('base64')}`,
  };
  const resolver = async (name: string): Promise<string[][]> => {
    const record = keys[name];
    if (record === undefined) throw Object.assign(new Error(`no record ${name}`), { code: 'ENOTFOUND' });
    return [[record]];
  };
  const { results } = await dkimVerify(Buffer.from(raw, 'latin1'), { resolver });
  return results.map(({ signingDomain, status }) => `${signingDomain}=${status.result}`);
}

export const GTUBE = 'XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X';
