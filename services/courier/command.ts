import type { Client } from '../../operator/runtime/client.js';
import { ApiError, isAlreadyExists } from '../../operator/runtime/errors.js';
import { builtin, type KubeObject, ownerReference } from '../../operator/runtime/object.js';
import { bounced, type Delivery, deferred, delivered, type Outcome } from './delivery.js';
import {
  attemptOf,
  COMMAND_MESSAGE_LIMIT,
  COMPLETE_KEPT_MS,
  DELIVERY_LABEL,
  type Job,
  type JobSettings,
  jobName,
  jobOf,
  jobState,
  messageParts,
} from './job.js';
import { outcomeOfExit } from './outcome.js';
import type { SecretReader } from './secrets.js';
import type { CommandTarget, Target } from './target.js';

type CommandDelivery = Target & { readonly command: CommandTarget };

interface Pod extends KubeObject {
  status?: {
    containerStatuses?: {
      name: string;
      state?: {
        terminated?: { exitCode: number; message?: string };
        waiting?: { reason?: string; message?: string };
      };
    }[];
  };
}

export interface CommandOptions extends JobSettings {
  readonly client: Client;
  readonly secrets: SecretReader;
  /** The number of this attempt if the cluster knows of none: see {@link createAttempts}. */
  readonly attempt: number;
  /** Told when a command is run although it may have run before, and when Kubernetes ran one twice. */
  readonly onRepeat: (reason: string, message: string) => void;
  /** Whether the rule (its UID) may have another Job now. */
  readonly admit: (rule: string) => boolean;
  readonly signal?: AbortSignal | undefined;
  /** How long a Job that took its message is kept, ms. */
  readonly completeKeptMs?: number | undefined;
  /** Between two looks at a running Job, ms. */
  readonly pollMs?: number | undefined;
}

/**
 * Runs the command as a Job, or finds the Job that an earlier attempt left: one that runs is waited for, one that took or
 * refused the message is believed, and only one that failed is followed by another. Never rejects: whatever the API server
 * does not answer is deferred.
 */
export async function runCommand(
  delivery: Delivery,
  target: CommandDelivery,
  options: CommandOptions,
): Promise<Outcome> {
  try {
    const impossible = await obstacle(delivery, target, options);
    if (impossible !== undefined) return impossible;
    const before = await newestJob(delivery, options);
    const known = before === undefined ? undefined : await resultOf(before, delivery, target, options);
    if (known !== undefined && known.result !== 'deferred') return known;
    if (!options.admit(target.rule.uid)) return deferred('4.3.2', 'the rule has had too many Jobs within the hour');
    const attempt = before === undefined ? options.attempt : attemptOf(before) + 1;
    if (attempt > 1) {
      options.onRepeat('CommandRunAgain', `delivery ${delivery.id} is tried again: attempt ${attempt}`);
    }
    const job = await makeJob(delivery, target, attempt, options);
    return (await resultOf(job, delivery, target, options)) ?? deferred('4.3.0', 'the command is still running');
  } catch (error) {
    return apiFailure(error, target);
  }
}

/** What can be said without a Job. */
async function obstacle(
  { message }: Delivery,
  { rule, command }: CommandDelivery,
  { namespace, secrets }: CommandOptions,
): Promise<Outcome | undefined> {
  if (message.length > COMMAND_MESSAGE_LIMIT) {
    return bounced('5.3.4', `a command takes messages of at most ${COMMAND_MESSAGE_LIMIT} octets`);
  }
  const refuse = (message: string) =>
    deferred('4.3.5', 'the command can not be run', { problem: { reason: 'CommandRefused', message } });
  if (rule.namespace !== namespace) {
    return refuse(`commands run in the MailSystem's namespace only, ${namespace}; this rule is in ${rule.namespace}`);
  }
  if (command.command.length === 0) return refuse('the rule names no program: set command');
  if (command.secretRef) await secrets.read(command.secretRef.name);
  return undefined;
}

async function newestJob(delivery: Delivery, { client, namespace }: CommandOptions): Promise<Job | undefined> {
  const labelSelector = `${DELIVERY_LABEL}=${delivery.id}`;
  const { items } = await client.list<Job>(builtin.job, { namespace, labelSelector });
  return items.sort((a, b) => attemptOf(b) - attemptOf(a))[0];
}

/** Makes the Job, and then the Secrets that its pod waits for. Another courier's Job of this attempt is as good. */
async function makeJob(
  delivery: Delivery,
  target: CommandDelivery,
  attempt: number,
  options: CommandOptions,
): Promise<Job> {
  const { client, namespace } = options;
  const wanted = jobOf(delivery, target, { ...options, attempt });
  const ref = { namespace, name: jobName(delivery.id, attempt) };
  return client.create<Job>(builtin.job, wanted, { fieldManager: 'posthorn-courier' }).catch(async (error: unknown) => {
    // Not only the name: also what a broken connection left unsaid.
    if (isAlreadyExists(error) || (error instanceof ApiError && error.status === 0))
      return client.get<Job>(builtin.job, ref);
    throw error;
  });
}

/** What a Job says: waits for its end, or undefined when told to stop waiting. */
async function resultOf(
  first: Job,
  delivery: Delivery,
  target: CommandDelivery,
  options: CommandOptions,
): Promise<Outcome | undefined> {
  if (jobState(first).state === 'running') await ensureParts(first, delivery, options);
  const job = await ended(first, options);
  if (job === undefined) return undefined;
  const state = jobState(job);
  const pods = await podsOf(job, options);
  await emptyParts(job, delivery, options);
  if (pods.length > 1) {
    options.onRepeat('CommandRanTwice', `Kubernetes started ${pods.length} pods of Job ${job.metadata.name}`);
  }
  if (state.state === 'complete') {
    removeLater(job, options);
    return delivered('the command took the message');
  }
  if (state.state === 'failed' && state.reason === 'DeadlineExceeded') return tooLong(target, pods);
  return outcomeOfPods(pods);
}

/** If this process doesn't live so long, the Job's own time limit does it. */
function removeLater(job: Job, { client, namespace, completeKeptMs = COMPLETE_KEPT_MS }: CommandOptions): void {
  const remove = () =>
    client.delete(builtin.job, { namespace, name: job.metadata.name }, { uid: job.metadata.uid }).catch(() => false);
  setTimeout(() => void remove(), completeKeptMs).unref();
}

function outcomeOfPods(pods: Pod[]): Outcome {
  const ends = pods.map((pod) => statusOf(pod)?.state?.terminated).filter((end) => end !== undefined);
  const [end] = ends;
  if (end === undefined) return deferred('4.3.0', 'the command ended without an exit code');
  return outcomeOfExit(end.exitCode, (end.message ?? '').split('\n')[0]);
}

function tooLong({ command }: CommandDelivery, pods: Pod[]): Outcome {
  const waiting = pods.map((pod) => statusOf(pod)?.state?.waiting).find((state) => state?.reason !== undefined);
  const detail = waiting === undefined ? '' : `; it never started: ${waiting.reason} ${waiting.message ?? ''}`;
  const message = `the command did not end within ${command.timeoutSeconds} s${detail}`;
  return deferred('4.4.7', 'the command did not end in time', {
    stuck: true,
    problem: { reason: 'CommandFailed', message },
  });
}

function statusOf(pod: Pod) {
  return pod.status?.containerStatuses?.find(({ name }) => name === 'command');
}

async function podsOf(job: Job, { client, namespace }: CommandOptions): Promise<Pod[]> {
  const labelSelector = `batch.kubernetes.io/job-name=${job.metadata.name}`;
  return (await client.list<Pod>(builtin.pod, { namespace, labelSelector })).items;
}

async function ended(
  first: Job,
  { client, namespace, signal, pollMs = 1_000 }: CommandOptions,
): Promise<Job | undefined> {
  let job = first;
  while (jobState(job).state === 'running') {
    if (signal?.aborted === true) return undefined;
    await new Promise((resolve) => setTimeout(resolve, pollMs));
    job = await client.get<Job>(builtin.job, { namespace, name: job.metadata.name });
  }
  return job;
}

/** Also for a Job that was found: whoever made it may have died before the Secrets were made. */
async function ensureParts(job: Job, delivery: Delivery, { client, namespace }: CommandOptions): Promise<void> {
  const parts = messageParts(delivery, attemptOf(job), namespace, ownerReference(job));
  for (const part of parts) {
    await client.create(builtin.secret, part, { fieldManager: 'posthorn-courier' }).catch((error: unknown) => {
      if (!isAlreadyExists(error)) throw error;
    });
  }
}

/** The message need not lie about any longer; the Secrets themselves go with the Job. */
async function emptyParts(job: Job, delivery: Delivery, { client, namespace }: CommandOptions): Promise<void> {
  for (const { metadata } of messageParts(delivery, attemptOf(job), namespace, ownerReference(job))) {
    const ref = { namespace, name: metadata.name };
    await client.patchMerge(builtin.secret, ref, { data: null }, { fieldManager: 'posthorn-courier' }).catch(() => {});
  }
}

function apiFailure(error: unknown, { rule }: CommandDelivery): Outcome {
  const message = error instanceof Error ? error.message : String(error);
  const away = error instanceof ApiError && (error.status === 0 || error.status >= 500);
  const text = away ? 'the cluster can not be asked now' : 'the command can not be run now';
  // Nobody could read an Event while the API server is away.
  return deferred(
    '4.3.0',
    text,
    away ? {} : { problem: { reason: 'CommandFailed', message: `ForwardRule ${rule.name}: ${message}` } },
  );
}
