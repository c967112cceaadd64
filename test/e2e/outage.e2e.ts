import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { builtin, type KubeObject } from '../../operator/runtime/object.js';
import { mailboxType } from '../../operator/types.js';
import { domain, login, mailboxObjects, namespace, operatorNamespace, systemName } from './lib/environment.js';
import { messageIds, waitForMessage } from './lib/imap.js';
import { apply, exec, kube, kubectlOk, remove, waitFor, waitForCondition } from './lib/kube.js';
import { type Ledger, sendLoad } from './lib/load.js';
import { received } from './lib/outside.js';
import { dialogue } from './lib/smtp.js';

const { smtp, imap, outside } = inject('environment');
const MESSAGES = 1_000;
const boxes = ['load-1', 'load-2', 'load-3'];
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

beforeAll(async () => {
  for (const name of boxes) await apply(...mailboxObjects(name));
  for (const name of boxes) await waitForCondition(mailboxType, { namespace, name }, {});
});

afterAll(async () => {
  for (const name of boxes) {
    await remove(mailboxType, { namespace, name });
    await kube().delete(builtin.secret, { namespace, name: `${name}-password` });
  }
});

/** Sends 1,000 messages through a fault; it lasts from now until `fault` resolves. */
async function through(fault: () => Promise<unknown>, rate: number): Promise<{ ledger: Ledger; sender: string }> {
  const sender = `load-${randomUUID().slice(0, 8)}@outside.example`;
  const recipients = boxes.map((name) => `${name}@${domain}`);
  const ledger = await sendLoad({ target: smtp, from: sender, recipients, messages: MESSAGES, rate, until: fault() });
  return { ledger, sender };
}

/** None lost, none doubled, none bounced. */
async function expectWhole({ ledger, sender }: { ledger: Ledger; sender: string }): Promise<void> {
  expect(ledger.rejected).toEqual([]);
  expect(ledger.accepted.size).toBeGreaterThanOrEqual(MESSAGES);
  const counts = await waitFor(
    'every accepted message to be in its mailbox',
    async () => {
      const seen = await countById();
      return [...ledger.accepted.keys()].every((id) => seen.has(id)) ? seen : undefined;
    },
    240_000,
  );
  const doubled = [...ledger.accepted.keys()].filter((id) => counts.get(id) !== 1);
  expect(doubled).toEqual([]);
  expect(await received(outside, sender)).toEqual([]);
}

async function countById(): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  for (const name of boxes) {
    for (const id of await messageIds(imap, login(name))) counts.set(id, (counts.get(id) ?? 0) + 1);
  }
  return counts;
}

async function databaseLeader(): Promise<string> {
  const { items } = await kube().list<KubeObject>(builtin.pod, {
    namespace,
    labelSelector: 'app.kubernetes.io/component=postgres,role=primary',
  });
  const [leader] = items;
  if (leader === undefined) throw new Error('the database has no leader');
  return leader.metadata.name;
}

/** Sends a signal to PostgreSQL's start-up process, which replays the log on a replica; fails if there is none. */
const SIGNAL_REPLAY =
  'found=; for p in /proc/[0-9]*; do if tr "\\0" " " <$p/cmdline 2>/dev/null | grep -q "^postgres:.* startup "; ' +
  'then kill -$1 $(basename $p) && found=1; fi; done; [ -n "$found" ]';

describe('mail keeps flowing', () => {
  it('[R1] with the operator scaled to 0', { timeout: 420_000 }, async () => {
    await kubectlOk(['scale', '-n', operatorNamespace, 'deploy/posthorn', '--replicas=0']);
    try {
      await kubectlOk([
        'wait',
        '-n',
        operatorNamespace,
        '--for=delete',
        'pod',
        '-l',
        'app.kubernetes.io/name=posthorn',
        '--timeout=60s',
      ]).catch(() => '');
      await expectWhole(await through(async () => undefined, 40));
    } finally {
      await kubectlOk(['scale', '-n', operatorNamespace, 'deploy/posthorn', '--replicas=1']);
      await kubectlOk(['rollout', 'status', '-n', operatorNamespace, 'deploy/posthorn', '--timeout=90s']);
    }
  });

  it('[R1] while the leader of the database is killed', { timeout: 600_000 }, async () => {
    const before = await databaseLeader();
    const fault = async () => {
      await pause(8_000);
      await kubectlOk(['delete', 'pod', '-n', namespace, before, '--grace-period=0', '--force']);
      await waitFor(
        'another leader',
        async () => ((await databaseLeader()) === before ? undefined : true),
        90_000,
      ).catch(() => undefined);
      await pause(5_000);
    };
    await expectWhole(await through(fault, 30));
    await waitFor(
      'the database to be whole again',
      async () => {
        const { items } = await kube().list<
          KubeObject & { status?: { conditions?: { type: string; status: string }[] } }
        >(builtin.pod, {
          namespace,
          labelSelector: 'app.kubernetes.io/component=postgres',
        });
        const ready = items.filter((pod) =>
          pod.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True'),
        );
        return ready.length === 3 ? true : undefined;
      },
      120_000,
    );
    // The old leader too: it rewinds what it alone had, and follows the new one.
    await waitFor(
      'both replicas to follow the leader',
      async () => {
        const psql = ['/usr/lib/postgresql/17/bin/psql', '-h', '/run/postgresql', '-U', 'postgres', '-Atc'];
        const ask = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
        const out = await kubectlOk([
          'exec',
          '-n',
          namespace,
          await databaseLeader(),
          '-c',
          'postgres',
          '--',
          ...psql,
          ask,
        ]);
        return out.trim() === '2' ? true : undefined;
      },
      120_000,
    );
  });

  it('[R1] to a mailbox that one member of the directory does not show yet: deferred at worst, then delivered', {
    timeout: 300_000,
  }, async () => {
    const leader = await databaseLeader();
    const replica = [0, 1, 2].map((n) => `${systemName}-postgres-${n}`).find((pod) => pod !== leader) as string;
    // Not pg_wal_replay_pause(): Patroni resumes it. The process that replays is stopped instead.
    const replay = (signal: 'STOP' | 'CONT') =>
      kubectlOk(['exec', '-n', namespace, replica, '-c', 'postgres', '--', 'sh', '-c', SIGNAL_REPLAY, 'sh', signal]);
    const name = `frozen-${randomUUID().slice(0, 6)}`;
    const codes: string[] = [];
    await replay('STOP');
    try {
      await pause(7_000);
      await apply(...mailboxObjects(name));
      await waitForCondition(mailboxType, { namespace, name }, { status: 'False', reason: 'WaitingForReplicas' });
      // What the frozen member itself says: the mx may be connected to another one.
      const psql = [
        '/usr/lib/postgresql/17/bin/psql',
        '-h',
        '/run/postgresql',
        '-U',
        'posthorn_mx',
        '-d',
        'posthorn',
        '-Atc',
      ];
      const ask = `SELECT directory_v1.rcpt_verdict('${name}@${domain}')`;
      const verdict = await kubectlOk(['exec', '-n', namespace, replica, '-c', 'postgres', '--', ...psql, ask]);
      expect(verdict).toMatch(/^450 /);
      for (let attempt = 0; attempt < 60; attempt += 1) {
        const session = await dialogue(smtp);
        await session.command('EHLO client.outside.example');
        await session.command('MAIL FROM:<friend@outside.example>');
        codes.push((await session.command(`RCPT TO:<${name}@${domain}>`)).slice(0, 3));
        session.close();
      }
    } finally {
      await replay('CONT');
    }
    expect(codes.filter((code) => !/^(250|450|451)$/.test(code))).toEqual([]);
    await waitForCondition(mailboxType, { namespace, name }, {});
    const ledger = await sendLoad({
      target: smtp,
      from: 'friend@outside.example',
      recipients: [`${name}@${domain}`],
      messages: 1,
      rate: 1,
    });
    await waitForMessage(imap, login(name), [...ledger.accepted.keys()][0] as string);
    await remove(mailboxType, { namespace, name });
    await kube().delete(builtin.secret, { namespace, name: `${name}-password` });
  });

  it('[R1] with the API server stopped for minutes, and while it comes back', { timeout: 900_000 }, async () => {
    const cluster = async (...args: string[]) => {
      const { code, stderr } = await exec('./hack/cluster', args, { timeoutMs: 120_000 });
      if (code !== 0) throw new Error(`hack/cluster ${args.join(' ')}: ${stderr}`);
    };
    const fault = async () => {
      await cluster('api', 'stop');
      try {
        await pause(150_000);
      } finally {
        await cluster('api', 'start');
      }
      await pause(90_000);
    };
    const result = await through(fault, 5);
    await waitFor(
      'the API server',
      async () => ((await kube().list(builtin.node)).items.length > 0 ? true : undefined),
      60_000,
    );
    await expectWhole(result);
    await waitFor(
      'all nodes to be Ready',
      async () => {
        const { items } = await kube().list<
          KubeObject & { status?: { conditions?: { type: string; status: string }[] } }
        >(builtin.node);
        return items.every((node) => node.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True'))
          ? true
          : undefined;
      },
      180_000,
    );
  });
});
