/** Apply of a Mailbox → first successful IMAP log-in through the proxy; reference: its rows inserted by hand. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Mailbox } from '../../crds/mailbox.js';
import { preparePassword } from '../../operator/directory/password.js';
import { createInformer } from '../../operator/runtime/informer.js';
import { silentLog } from '../../operator/runtime/log.js';
import type { KubeObject } from '../../operator/runtime/object.js';
import { mailboxType } from '../../operator/types.js';
import { apply, kube } from '../e2e/lib/kube.js';
import { openDirectory } from './directory-session.js';
import { firstLogIn, type LoginTarget, logIn, type Probing } from './imap-login.js';
import { type BenchOptions, type BenchResult, percentile, summary } from './result.js';
import { deleteAll, ensureBenchSystem, inParallel, mailbox, namespace, passwordSecret } from './system.js';

const PROBING = { intervalMs: 100, most: 8, timeoutMs: 60_000 };
/** Only when it should work. */
const UNPROBED = { ...PROBING, most: 0 };
const WARM_UP = 10;
const PAUSE_MS = 100;

export async function applyLatency({ n, log }: BenchOptions): Promise<BenchResult> {
  const { imap } = await ensureBenchSystem(log);
  const count = n + WARM_UP;
  log(`${count} Secrets, which exist before their Mailboxes`);
  const run = Date.now().toString(36);
  const people = Array.from({ length: count }, (_, i) => ({ name: `a${run}-${i}`, pass: `secret-${run}-${i}` }));
  await inParallel(people, 8, ({ name, pass }) => apply(passwordSecret(namespace, name, pass)));
  const hash = await preparePassword(`secret-${run}`);
  const ready = watchReady();
  await ready.synced;
  const directory = await openDirectory();

  const login: number[] = [];
  const condition: number[] = [];
  const reference: number[] = [];
  log(`${count} times in turn: apply and log in, insert and log in`);
  try {
    for (const { name, pass } of people) {
      const ours = await timeApply(imap, ready, name, name, pass, PROBING);
      login.push(ours.login);
      condition.push(ours.ready);
      await sleep(PAUSE_MS);
      reference.push(await timeInsert(imap, directory, `r${name}`, `secret-${run}`, hash));
      await sleep(PAUSE_MS);
    }
    log('again, with one log-in each, once the Mailbox is Ready');
    const polite: number[] = [];
    for (const { name, pass } of people.slice(0, Math.ceil(n / 4))) {
      polite.push((await timeApply(imap, ready, `p${name}`, name, pass, UNPROBED)).login);
      await sleep(PAUSE_MS);
    }
    const plain = await timeLogins(imap, people[0] as { name: string; pass: string });
    for (const values of [login, condition, reference]) values.splice(0, WARM_UP);
    return resultOf(login, { condition, reference, polite, plain });
  } finally {
    await directory.removeMailboxes();
    await directory.close();
    await ready.stop();
    await deleteAll(mailboxType, namespace);
  }
}

function resultOf(
  login: number[],
  more: { condition: number[]; reference: number[]; polite: number[]; plain: number[] },
): BenchResult {
  const value = percentile(login, 99);
  return {
    name: 'apply-latency',
    value,
    unit: 'ms',
    reference: percentile(more.reference, 99),
    bounds: [{ what: 'p99 of apply to log-in ≤ 1 s', met: value <= 1_000 }],
    details: {
      applyToLogin: summary(login),
      applyToReady: summary(more.condition),
      applyToReadyToLogin: summary(more.polite),
      insertToLogin: summary(more.reference),
      loginAlone: summary(more.plain),
    },
  };
}

async function timeApply(
  imap: LoginTarget,
  ready: ReadyWatch,
  name: string,
  secret: string,
  pass: string,
  probing: Probing,
): Promise<{ login: number; ready: number }> {
  const started = performance.now();
  const isReady = ready.of(name);
  await apply(mailbox(namespace, name, secret));
  const at = await firstLogIn(imap, addressOf(name), pass, isReady, probing);
  return { login: at - started, ready: (await isReady) - started };
}

async function timeInsert(
  imap: LoginTarget,
  directory: Awaited<ReturnType<typeof openDirectory>>,
  name: string,
  pass: string,
  hash: string,
): Promise<number> {
  const started = performance.now();
  const committed = directory.insertMailbox(name, addressOf(name), hash);
  return (await firstLogIn(imap, addressOf(name), pass, committed, PROBING)) - started;
}

/** What of all this is the log-in: a person who has been there for long. */
async function timeLogins(imap: LoginTarget, { name, pass }: { name: string; pass: string }): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < 50; i++) {
    const started = performance.now();
    if (!(await logIn(imap, addressOf(name), pass))) throw new Error(`${name} can't log in any more`);
    times.push(performance.now() - started);
  }
  return times;
}

function addressOf(name: string): string {
  return `${name}@bench.example`;
}

interface ReadyWatch {
  synced: Promise<void>;
  /** When this Mailbox was first seen Ready, by `performance.now()`. */
  of(name: string): Promise<number>;
  stop(): Promise<void>;
}

function watchReady(): ReadyWatch {
  const waiting = new Map<string, (at: number) => void>();
  const mailboxes = createInformer<Mailbox & KubeObject>({
    client: kube(),
    type: mailboxType,
    namespace,
    log: silentLog,
  });
  mailboxes.onEvent(({ object: { metadata, status } }) => {
    const condition = status?.conditions?.find(({ type }) => type === 'Ready');
    if (condition?.status === 'True') waiting.get(metadata.name)?.(performance.now());
  });
  mailboxes.start();
  return {
    synced: mailboxes.synced,
    of: (name) => new Promise((resolve) => waiting.set(name, resolve)),
    stop: () => mailboxes.stop(),
  };
}
