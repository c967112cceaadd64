import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import type { V1Container, V1EnvVar, V1JobSpec, V1PodSpec, V1Volume } from '@kubernetes/client-node';
import type { KubeObject, OwnerReference } from '../../operator/runtime/object.js';
import type { Delivery } from './delivery.js';
import type { CommandTarget, Target } from './target.js';

/** Label with a delivery's id, on its Jobs and what belongs to them. */
export const DELIVERY_LABEL = 'posthorn.dev/delivery';
export const ATTEMPT_LABEL = 'posthorn.dev/attempt';

/** Largest message for a command, octets. It travels by way of the API server, in Secrets. */
export const COMMAND_MESSAGE_LIMIT = 1024 * 1024;

/** A Secret holds 1 MiB in all. */
const PART_SIZE = 1_000_000;

/** For scheduling, pulling images and unpacking the message; the command's own time comes on top. */
const START_SECONDS = 120;

/**
 * A Job is kept for so long after its end: a retry of a delivery whose answer got lost finds it instead of running the
 * command again, and people find the log of one that failed. The forward role tries again every 5 minutes at least.
 */
const KEPT_SECONDS = 3_600;

/** One that took the message is removed after this, ms: it has nothing more to tell. */
export const COMPLETE_KEPT_MS = 600_000;

/** nobody, in most images; none of ours. */
const UID = 65_532;

export interface JobSettings {
  /** The MailSystem. */
  readonly system: string;
  readonly namespace: string;
  /** Image with busybox, sh and gzip: our own. */
  readonly image: string;
  readonly imagePullPolicy: string;
}

export interface Job extends KubeObject {
  spec: V1JobSpec;
  status?: {
    active?: number;
    conditions?: { type: string; status: string; reason?: string; message?: string }[];
  };
}

export interface Part extends KubeObject {
  type: string;
  data: Record<string, string>;
}

/** Name of the Job of an attempt: the same whoever makes it, so that it is made once. */
export function jobName(deliveryId: string, attempt: number): string {
  return `courier-${deliveryId}-${attempt}`;
}

/** The Job that runs a command once. The message comes by the Secrets of {@link messageParts}. */
export function jobOf(
  delivery: Delivery,
  target: Target & { readonly command: CommandTarget },
  { attempt, ...settings }: JobSettings & { attempt: number },
): Job {
  const labels = {
    'app.kubernetes.io/name': 'posthorn-command',
    'app.kubernetes.io/managed-by': 'posthorn',
    'posthorn.dev/system': settings.system,
    'posthorn.dev/rule': target.rule.uid,
    [DELIVERY_LABEL]: delivery.id,
    [ATTEMPT_LABEL]: String(attempt),
  };
  const annotations = { 'posthorn.dev/rule-name': target.rule.name };
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { name: jobName(delivery.id, attempt), namespace: settings.namespace, labels, annotations },
    spec: {
      backoffLimit: 0,
      completions: 1,
      parallelism: 1,
      // No second pod beside one that is still ending.
      podReplacementPolicy: 'Failed',
      activeDeadlineSeconds: target.command.timeoutSeconds + START_SECONDS,
      ttlSecondsAfterFinished: KEPT_SECONDS,
      template: { metadata: { labels, annotations } as never, spec: podOf(delivery, target, attempt, settings) },
    },
  };
}

function podOf(
  delivery: Delivery,
  target: Target & { readonly command: CommandTarget },
  attempt: number,
  settings: JobSettings,
): V1PodSpec {
  return {
    restartPolicy: 'Never',
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    terminationGracePeriodSeconds: 5,
    securityContext: {
      runAsNonRoot: true,
      runAsUser: UID,
      runAsGroup: UID,
      fsGroup: UID,
      seccompProfile: { type: 'RuntimeDefault' },
    },
    initContainers: [unpacker(delivery, settings)],
    containers: [program(delivery, target, attempt)],
    volumes: volumes(delivery, attempt),
  };
}

const restricted = {
  allowPrivilegeEscalation: false,
  readOnlyRootFilesystem: true,
  capabilities: { drop: ['ALL'] },
};

/** Puts the message together and brings a shell that needs nothing of the command's image. Fails unless the message is whole. */
function unpacker({ message }: Delivery, { image, imagePullPolicy }: JobSettings): V1Container {
  const digest = createHash('sha256').update(message).digest('hex');
  const script = [
    'cp "$(command -v busybox)" /posthorn/busybox',
    'cat /parts/* | gzip -dc >/posthorn/message',
    `echo "${digest}  /posthorn/message" | sha256sum -c --quiet`,
  ].join(' && ');
  return {
    name: 'message',
    image,
    imagePullPolicy,
    command: ['/bin/sh', '-c', script],
    securityContext: restricted,
    resources: { requests: { cpu: '10m', memory: '16Mi' }, limits: { memory: '64Mi' } },
    volumeMounts: [
      { name: 'parts', mountPath: '/parts', readOnly: true },
      { name: 'posthorn', mountPath: '/posthorn' },
    ],
  };
}

/**
 * Finds the program in PATH by itself: Debian's busybox would run its own tool of that name. Then the program takes the
 * shell's place, with the message as its standard input.
 */
const FEED = [
  'p=$1; shift',
  'case $p in */*) ;; *) IFS=:; for d in $PATH; do [ -f "$d/$p" ] && [ -x "$d/$p" ] && p=$d/$p && break; done; unset IFS ;; esac',
  'case $p in */*) exec "$p" "$@" </posthorn/message ;; esac',
  'echo "$p: not in PATH" >&2; exit 127',
].join('\n');

function program(
  delivery: Delivery,
  { rule, address, command }: Target & { readonly command: CommandTarget },
  attempt: number,
): V1Container {
  const env: V1EnvVar[] = Object.entries({
    POSTHORN_DELIVERY_ID: delivery.id,
    POSTHORN_ATTEMPT: String(attempt),
    POSTHORN_ADDRESS: address,
    POSTHORN_RECIPIENT: delivery.recipient ?? address,
    POSTHORN_SENDER: delivery.sender,
    POSTHORN_RULE: `${rule.namespace}/${rule.name}`,
    POSTHORN_REPLY: '/dev/termination-log',
    HOME: '/tmp',
  }).map(([name, value]) => ({ name, value: escaped(value) }));
  return {
    name: 'command',
    image: command.image,
    command: ['/posthorn/busybox', 'sh', '-c', FEED, 'posthorn', ...command.command, ...command.args],
    env,
    ...(command.secretRef ? { envFrom: [{ secretRef: { name: command.secretRef.name } }] } : {}),
    securityContext: restricted,
    resources: { requests: { cpu: '10m', memory: '32Mi' }, limits: { memory: '512Mi' } },
    volumeMounts: [
      { name: 'posthorn', mountPath: '/posthorn', readOnly: true },
      { name: 'tmp', mountPath: '/tmp' },
    ],
  };
}

/** Kubernetes expands `$(NAME)` in variables too, and these hold what strangers write; `$$` stands for a dollar sign. */
function escaped(text: string): string {
  return text.replaceAll('$', '$$$$');
}

function volumes(delivery: Delivery, attempt: number): V1Volume[] {
  const count = partsOf(delivery.message).length;
  return [
    {
      name: 'parts',
      projected: {
        sources: Array.from({ length: count }, (_, index) => ({
          secret: {
            name: partName(delivery.id, attempt, index),
            items: [{ key: 'part', path: String(index).padStart(3, '0') }],
          },
        })),
      },
    },
    { name: 'posthorn', emptyDir: { sizeLimit: '64Mi' } },
    { name: 'tmp', emptyDir: { sizeLimit: '256Mi' } },
  ];
}

function partName(deliveryId: string, attempt: number, index: number): string {
  return `${jobName(deliveryId, attempt)}-${String(index).padStart(3, '0')}`;
}

function partsOf(message: Buffer): Buffer[] {
  const packed = gzipSync(message, { level: 6 });
  const count = Math.ceil(packed.length / PART_SIZE);
  return Array.from({ length: count }, (_, index) => packed.subarray(index * PART_SIZE, (index + 1) * PART_SIZE));
}

/** The message, compressed, in Secrets that go with the Job. */
export function messageParts(delivery: Delivery, attempt: number, namespace: string, owner: OwnerReference): Part[] {
  return partsOf(delivery.message).map((part, index) => ({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: {
      name: partName(delivery.id, attempt, index),
      namespace,
      labels: { 'app.kubernetes.io/managed-by': 'posthorn', [DELIVERY_LABEL]: delivery.id },
      ownerReferences: [owner],
    },
    type: 'posthorn.dev/message',
    data: { part: part.toString('base64') },
  }));
}

/** Whether a Job has ended, and how. */
export function jobState(job: Job): { state: 'running' | 'complete' } | { state: 'failed'; reason: string } {
  const ended = (type: string) => job.status?.conditions?.find((c) => c.type === type && c.status === 'True');
  if (ended('Complete') !== undefined) return { state: 'complete' };
  const failed = ended('Failed');
  return failed === undefined ? { state: 'running' } : { state: 'failed', reason: failed.reason ?? '' };
}

/** The number of the attempt that a Job is. */
export function attemptOf(job: KubeObject): number {
  return Number(job.metadata.labels?.[ATTEMPT_LABEL] ?? 0);
}
