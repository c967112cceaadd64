import { randomBytes } from 'node:crypto';
import { gunzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Client, createClient } from '../../operator/runtime/client.js';
import { builtin, type KubeObject } from '../../operator/runtime/object.js';
import { type FaultProxy, startProxy } from '../../operator/runtime/testing/proxy.js';
import { createNamespace, eventually, sharedApiServer, sharedClient } from '../../operator/runtime/testing/shared.js';
import { type CommandOptions, runCommand } from './command.js';
import type { Delivery, Outcome } from './delivery.js';
import { type Job, jobName, type Part } from './job.js';
import { createSecretReader } from './secrets.js';
import type { CommandTarget, Target } from './target.js';

/** The API server is real; there are no controllers and no kubelet: the tests say how Jobs and pods end. */
let client: Client;
let proxy: FaultProxy;
let throughProxy: Client;
let namespace: string;
let counter = 0;

beforeAll(async () => {
  client = await sharedClient();
  proxy = await startProxy(await sharedApiServer());
  throughProxy = createClient(proxy.connection, { attempts: 1, timeoutMs: 3_000 });
});
beforeEach(async () => {
  namespace = await createNamespace(client, 'courier');
});
afterEach(() => {
  proxy.refuse(false);
  proxy.intercept(undefined);
});
afterAll(async () => {
  throughProxy.close();
  await proxy.close();
  client.close();
});

function newDelivery(message: Buffer | string = 'Subject: x\r\n\r\nhello\r\n'): Delivery {
  counter += 1;
  const id = counter.toString(16).padStart(32, '0');
  return { id, token: 'u.0', sender: 'amy$(HOME)@example.org', message: Buffer.from(message) };
}

function target(command: Partial<CommandTarget> = {}, ruleNamespace = namespace): Target & { command: CommandTarget } {
  return {
    rule: { namespace: ruleNamespace, name: 'bot', uid: '0b0e8a5e-5d5c-4b5a-9b55-3c1f1b1c0a11' },
    address: 'bot@example.org',
    command: {
      image: 'bots.example.org/bridges:1',
      command: ['bridges', '$(TOKEN)'],
      args: ['-v'],
      timeoutSeconds: 60,
      ...command,
    },
  };
}

interface Run {
  outcome: Promise<Outcome>;
  repeats: string[];
  stop: AbortController;
}

function run(delivery: Delivery, to = target(), options: Partial<CommandOptions> = {}): Run {
  const repeats: string[] = [];
  const stop = new AbortController();
  const outcome = runCommand(delivery, to, {
    system: 'mail',
    namespace,
    image: 'localhost/posthorn/posthorn:dev',
    imagePullPolicy: 'IfNotPresent',
    client: throughProxy,
    secrets: createSecretReader(throughProxy, namespace),
    attempt: 1,
    onRepeat: (reason) => repeats.push(reason),
    admit: () => true,
    pollMs: 20,
    signal: stop.signal,
    ...options,
  });
  return { outcome, repeats, stop };
}

const jobs = async () =>
  (await client.list<Job>(builtin.job, { namespace })).items.map(({ metadata }) => metadata.name);
const getJob = (delivery: Delivery, attempt = 1) =>
  eventually(() => client.get<Job>(builtin.job, { namespace, name: jobName(delivery.id, attempt) }));
const parts = async (delivery: Delivery) =>
  (await client.list<Part>(builtin.secret, { namespace, labelSelector: `posthorn.dev/delivery=${delivery.id}` })).items;

/** As the Job controller and the kubelet would. */
async function end(
  delivery: Delivery,
  exitCode: number | undefined,
  attempt = 1,
  reason = 'BackoffLimitExceeded',
  said = '',
) {
  const job = await getJob(delivery, attempt);
  const name = `${job.metadata.name}-pod-${exitCode}`;
  const labels = { 'batch.kubernetes.io/job-name': job.metadata.name };
  if (exitCode !== undefined) {
    const spec = { containers: [{ name: 'command', image: 'x' }] };
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace, labels }, spec };
    await client.create(builtin.pod, pod as KubeObject, { fieldManager: 'test' });
    const terminated = { exitCode, message: said };
    const status = {
      phase: exitCode === 0 ? 'Succeeded' : 'Failed',
      containerStatuses: [
        { name: 'command', image: 'x', imageID: '', ready: false, restartCount: 0, state: { terminated } },
      ],
    };
    await client.patchStatus(builtin.pod, { namespace, name }, { status }, { fieldManager: 'test' });
  }
  const now = new Date().toISOString().replace(/\.\d+Z$/, 'Z');
  const [type, before] = exitCode === 0 ? ['Complete', 'SuccessCriteriaMet'] : ['Failed', 'FailureTarget'];
  const condition = (of: string | undefined) => ({
    type: of,
    status: 'True',
    reason: exitCode === 0 ? 'CompletionsReached' : reason,
    lastTransitionTime: now,
    lastProbeTime: now,
  });
  const status = {
    startTime: now,
    ...(exitCode === 0 ? { completionTime: now, succeeded: 1 } : { failed: 1 }),
    conditions: [condition(before), condition(type)],
  };
  await client.patchStatus(builtin.job, { namespace, name: job.metadata.name }, { status }, { fieldManager: 'test' });
}

describe('a command', () => {
  it('is a Job of one restricted pod, with the message in Secrets of its own', async () => {
    const delivery = newDelivery();
    const { outcome } = run(delivery);
    const job = await getJob(delivery);
    const [part] = await eventually(async () => {
      const found = await parts(delivery);
      expect(found).toHaveLength(1);
      return found;
    });
    expect(gunzipSync(Buffer.from(part?.data.part ?? '', 'base64')).equals(delivery.message)).toBe(true);
    expect(part?.metadata.ownerReferences?.[0]).toMatchObject({ kind: 'Job', uid: job.metadata.uid });
    const { spec } = job.spec.template;
    expect(job.spec).toMatchObject({ backoffLimit: 0, activeDeadlineSeconds: 180, podReplacementPolicy: 'Failed' });
    expect(spec).toMatchObject({ restartPolicy: 'Never', automountServiceAccountToken: false });
    const container = spec?.containers[0];
    expect(container?.command?.slice(-3)).toEqual(['bridges', '$(TOKEN)', '-v']);
    expect(container?.env).toEqual(
      expect.arrayContaining([
        { name: 'POSTHORN_DELIVERY_ID', value: delivery.id },
        { name: 'POSTHORN_ATTEMPT', value: '1' },
        { name: 'POSTHORN_ADDRESS', value: 'bot@example.org' },
        { name: 'POSTHORN_SENDER', value: 'amy$$(HOME)@example.org' },
      ]),
    );
    await end(delivery, 0);
    expect(await outcome).toMatchObject({ result: 'delivered' });
    await eventually(async () => expect((await parts(delivery))[0]?.data).toBeUndefined());
  });

  it('may have a pod in a namespace that enforces restricted pod security', async () => {
    const patch = { metadata: { labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } } };
    await client.patchMerge(builtin.namespace, { name: namespace }, patch, { fieldManager: 'test' });
    const delivery = newDelivery();
    const { outcome, stop } = run(delivery);
    const job = await getJob(delivery);
    const spec = job.spec.template.spec;
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'as-the-job-would', namespace }, spec };
    await client.create(builtin.pod, pod as KubeObject, { fieldManager: 'test' });
    stop.abort();
    await outcome;
  });

  it.each([
    [65, 'no such bridge', 'bounced', '5.6.0 no such bridge'],
    [75, '', 'deferred', '4.3.0 the command ended with exit code 75'],
    [1, 'Traceback', 'deferred', '4.3.0 the command ended with exit code 1'],
  ])('with exit code %i and the words %j is %s', async (code, said, result, text) => {
    const delivery = newDelivery();
    const { outcome } = run(delivery);
    await end(delivery, code, 1, 'BackoffLimitExceeded', said);
    expect(await outcome).toMatchObject({ result, text });
  });

  it('that takes too long, or whose pod is gone without a word, is put off', async () => {
    const late = newDelivery();
    const first = run(late);
    await end(late, undefined, 1, 'DeadlineExceeded');
    expect(await first.outcome).toMatchObject({ result: 'deferred', stuck: true });
    const lost = newDelivery();
    const second = run(lost);
    await end(lost, undefined);
    expect(await second.outcome).toMatchObject({
      result: 'deferred',
      text: expect.stringContaining('without an exit code'),
    });
  });
});

describe('a delivery that comes again', () => {
  it('finds the Job that runs, and waits for it', async () => {
    const delivery = newDelivery();
    const first = run(delivery);
    await getJob(delivery);
    first.stop.abort();
    expect(await first.outcome).toMatchObject({ result: 'deferred' });
    const second = run(delivery, target(), { attempt: 2 });
    await end(delivery, 0);
    expect(await second.outcome).toMatchObject({ result: 'delivered' });
    expect(second.repeats).toEqual([]);
    expect(await jobs()).toHaveLength(1);
  });

  it('believes a Job that has taken or refused the message', async () => {
    for (const [code, result] of [
      [0, 'delivered'],
      [67, 'bounced'],
    ] as const) {
      const delivery = newDelivery();
      const first = run(delivery);
      await end(delivery, code);
      await first.outcome;
      expect(await run(delivery, target(), { attempt: 2 }).outcome).toMatchObject({ result });
    }
    expect(await jobs()).toHaveLength(2);
  });

  it('after one that put it off is another Job, which knows its number, and an Event says so', async () => {
    const delivery = newDelivery();
    const first = run(delivery);
    await end(delivery, 75);
    expect(await first.outcome).toMatchObject({ result: 'deferred' });
    const second = run(delivery, target(), { attempt: 2 });
    const job = await getJob(delivery, 2);
    expect(job.spec.template.spec?.containers[0]?.env).toContainEqual({ name: 'POSTHORN_ATTEMPT', value: '2' });
    await end(delivery, 0, 2);
    expect(await second.outcome).toMatchObject({ result: 'delivered' });
    expect(second.repeats).toEqual(['CommandRunAgain']);
  });

  it('at two couriers at once is one Job', async () => {
    const delivery = newDelivery();
    const both = [run(delivery), run(delivery), run(delivery)];
    await end(delivery, 0);
    for (const { outcome } of both) expect(await outcome).toMatchObject({ result: 'delivered' });
    expect(await jobs()).toHaveLength(1);
  });

  it('after the courier died between Job and Secrets brings the Secrets', async () => {
    const delivery = newDelivery();
    proxy.intercept(({ method, path }) =>
      method === 'POST' && /secrets/.test(path) ? { status: 503, cut: true } : undefined,
    );
    expect(await run(delivery).outcome).toMatchObject({ result: 'deferred' });
    expect([await jobs(), await parts(delivery)].map((list) => list.length)).toEqual([1, 0]);
    proxy.intercept(undefined);
    const second = run(delivery);
    await eventually(async () => expect(await parts(delivery)).toHaveLength(1));
    await end(delivery, 0);
    expect(await second.outcome).toMatchObject({ result: 'delivered' });
  });

  it('tells when Kubernetes ran a Job twice', async () => {
    const delivery = newDelivery();
    const { outcome, repeats } = run(delivery);
    const job = await getJob(delivery);
    const labels = { 'batch.kubernetes.io/job-name': job.metadata.name };
    const spec = { containers: [{ name: 'command', image: 'x' }] };
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'earlier', namespace, labels }, spec };
    await client.create(builtin.pod, pod as KubeObject, { fieldManager: 'test' });
    await end(delivery, 0);
    await outcome;
    expect(repeats).toEqual(['CommandRanTwice']);
  });
});

describe('a delivery that can not be made', () => {
  it('waits while the API server is away, at whatever moment it goes', async () => {
    proxy.refuse(true);
    const delivery = newDelivery();
    expect(await run(delivery).outcome).toMatchObject({ result: 'deferred' });
    proxy.refuse(false);
    expect(await jobs()).toEqual([]);
    const second = run(delivery);
    await getJob(delivery);
    proxy.refuse(true);
    expect(await second.outcome).toMatchObject({ result: 'deferred' });
    proxy.refuse(false);
    const third = run(delivery);
    await end(delivery, 0);
    expect(await third.outcome).toMatchObject({ result: 'delivered' });
    expect(await jobs()).toHaveLength(1);
  });

  it('is made once though the answer to making it got lost', async () => {
    const delivery = newDelivery();
    proxy.intercept(({ method, path }) =>
      method === 'POST' && /jobs/.test(path) ? { status: 0, afterForwarding: true, cut: true } : undefined,
    );
    const { outcome } = run(delivery);
    await end(delivery, 0);
    expect(await outcome).toMatchObject({ result: 'delivered' });
    expect(await jobs()).toHaveLength(1);
  });

  it('is refused when the message is too large, and waits when the rule may not run commands', async () => {
    expect(await run(newDelivery(Buffer.alloc(1_100_000, 'x'))).outcome).toMatchObject({ result: 'bounced' });
    expect(await run(newDelivery(), target({}, 'elsewhere')).outcome).toMatchObject({
      result: 'deferred',
      problem: { reason: 'CommandRefused' },
    });
    expect(await run(newDelivery(), target({ command: [] })).outcome).toMatchObject({ result: 'deferred' });
    expect(await jobs()).toEqual([]);
  });

  it('waits when the rule has had its Jobs for this hour; one that runs is still waited for', async () => {
    const running = newDelivery();
    const first = run(running);
    await getJob(running);
    first.stop.abort();
    await first.outcome;
    const again = run(running, target(), { admit: () => false });
    await end(running, 0);
    expect(await again.outcome).toMatchObject({ result: 'delivered' });
    const outcome = await run(newDelivery(), target(), { admit: () => false }).outcome;
    expect(outcome).toMatchObject({ result: 'deferred', text: expect.stringMatching(/^4\.3\.2/) });
    expect(await jobs()).toHaveLength(1);
  });

  it('waits when its Secret is missing or is none for rules', async () => {
    const secrets = [
      { metadata: { name: 'mail-ca', namespace, labels: { 'app.kubernetes.io/managed-by': 'posthorn' } } },
      { metadata: { name: 'dkim', namespace, labels: { 'posthorn.dev/dkim': 'example.org' } } },
      {
        metadata: { name: 'public', namespace },
        type: 'kubernetes.io/tls',
        stringData: { 'tls.crt': 'x', 'tls.key': 'x' },
      },
    ];
    for (const secret of secrets) {
      const object = { apiVersion: 'v1', kind: 'Secret', ...secret } as KubeObject;
      await client.create(builtin.secret, object, { fieldManager: 'test' });
    }
    for (const name of ['missing', 'mail-ca', 'dkim', 'public']) {
      const outcome = await run(newDelivery(), target({ secretRef: { name } })).outcome;
      expect(outcome, name).toMatchObject({ result: 'deferred', problem: { reason: 'CommandFailed' } });
    }
    expect(await jobs()).toEqual([]);
  });

  it('that does not fit one Secret travels in several', async () => {
    const delivery = newDelivery(randomBytes(1_048_000));
    const { outcome } = run(delivery);
    const all = await eventually(async () => {
      const found = await parts(delivery);
      expect(found).toHaveLength(2);
      return found;
    });
    expect((await getJob(delivery)).spec.template.spec?.volumes?.[0]?.projected?.sources).toHaveLength(2);
    const packed = Buffer.concat(all.map(({ data }) => Buffer.from(data.part ?? '', 'base64')));
    expect(gunzipSync(packed).equals(delivery.message)).toBe(true);
    await end(delivery, 0);
    await outcome;
  });
});

it('removes a Job that took its message after a while, and keeps one that failed', async () => {
  const [took, failed] = [newDelivery(), newDelivery()];
  const runs = [run(took, target(), { completeKeptMs: 100 }), run(failed, target(), { completeKeptMs: 100 })];
  await end(took, 0);
  await end(failed, 75);
  for (const { outcome } of runs) await outcome;
  await eventually(async () => expect(await jobs()).toEqual([jobName(failed.id, 1)]));
});
