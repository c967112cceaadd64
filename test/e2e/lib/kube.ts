/** The cluster under test, by the operator's own client and, where a person would, by kubectl. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { parseAllDocuments } from 'yaml';
import { type Client, createClient } from '../../../operator/runtime/client.js';
import { loadConnection } from '../../../operator/runtime/kubeconfig.js';
import {
  builtin,
  type KubeObject,
  type ObjectRef,
  type ResourceType,
  resourceTypeOf,
} from '../../../operator/runtime/object.js';
import { forwardRuleType, mailboxType, mailDomainType, mailSystemType } from '../../../operator/types.js';

const run = promisify(execFile);

export const root = fileURLToPath(new URL('../../../', import.meta.url));

/** The kubeconfig of the tests: `KUBECONFIG`, or the local cluster's, which `POSTHORN_CLUSTER_NAME` may name. */
export function kubeconfigPath(): string {
  const name = process.env.POSTHORN_CLUSTER_NAME ?? 'default';
  const path = process.env.KUBECONFIG ?? `/var/lib/posthorn-cluster${name === 'default' ? '' : `-${name}`}/kubeconfig`;
  if (!existsSync(path)) throw new Error(`no cluster: ${path} does not exist; run ./hack/cluster up`);
  return path;
}

let shared: Client | undefined;

export function kube(): Client {
  process.env.KUBECONFIG = kubeconfigPath();
  shared ??= createClient(loadConnection(), { userAgent: 'posthorn-e2e' });
  return shared;
}

export const ourTypes: readonly ResourceType[] = [mailSystemType, mailDomainType, mailboxType, forwardRuleType];

export interface Ran {
  stdout: string;
  stderr: string;
  code: number;
}

/** Runs a program; never rejects for its exit code. */
export async function exec(
  program: string,
  args: readonly string[],
  options: { input?: string; timeoutMs?: number } = {},
): Promise<Ran> {
  const child = run(program, [...args], {
    cwd: root,
    env: { ...process.env, KUBECONFIG: kubeconfigPath() },
    maxBuffer: 64 * 1024 * 1024,
    timeout: options.timeoutMs ?? 120_000,
  });
  if (options.input !== undefined) child.child.stdin?.end(options.input);
  else child.child.stdin?.end();
  try {
    const { stdout, stderr } = await child;
    return { stdout, stderr, code: 0 };
  } catch (error) {
    const { stdout = '', stderr = '', code } = error as { stdout?: string; stderr?: string; code?: number };
    return {
      stdout,
      stderr: stderr === '' ? (error as Error).message : stderr,
      code: typeof code === 'number' ? code : 1,
    };
  }
}

let kubectlPath: Promise<string> | undefined;

/** Runs the real kubectl, as an administrator does. */
export async function kubectl(args: readonly string[], input?: string, timeoutMs?: number): Promise<Ran> {
  kubectlPath ??= exec('./hack/tool', ['kubectl'], { timeoutMs: 900_000 }).then(({ stdout }) => stdout.trim());
  return exec(await kubectlPath, args, {
    ...(input === undefined ? {} : { input }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  });
}

/** The same, and throws unless it succeeds. @returns standard output */
export async function kubectlOk(args: readonly string[], input?: string, timeoutMs?: number): Promise<string> {
  const { stdout, stderr, code } = await kubectl(args, input, timeoutMs);
  if (code !== 0) throw new Error(`kubectl ${args.join(' ')}: ${stderr}`);
  return stdout;
}

/** Applies YAML as a person would; throws what kubectl says. */
export function applyYaml(yaml: string): Promise<string> {
  return kubectlOk(['apply', '--server-side', '--force-conflicts', '-f', '-'], yaml);
}

/** Applies objects server-side. */
export async function apply(...objects: KubeObject[]): Promise<void> {
  for (const object of objects) {
    await kube().applyServerSide(resourceTypeOf(object, ourTypes), object, { fieldManager: 'e2e' });
  }
}

export function readYaml(text: string): KubeObject[] {
  return parseAllDocuments(text).map((document) => document.toJS() as KubeObject);
}

/** Deletes and waits until it is gone. */
export async function remove(type: ResourceType, ref: ObjectRef, timeoutMs = 60_000): Promise<void> {
  await kube().delete(type, ref, { propagation: 'Background' });
  await waitFor(
    `${type.kind} ${ref.name} to be gone`,
    async () => ((await kube().find(type, ref)) === undefined ? true : undefined),
    timeoutMs,
  );
}

export interface WithConditions extends KubeObject {
  spec?: Record<string, unknown>;
  status?: {
    conditions?: { type: string; status: string; reason: string; message: string; observedGeneration?: number }[];
    [field: string]: unknown;
  };
}

/** Waits for a condition of the present generation, and answers the object. */
export function waitForCondition(
  type: ResourceType,
  ref: ObjectRef,
  wanted: { type?: string; status?: string; reason?: string },
  timeoutMs = 60_000,
): Promise<WithConditions> {
  const { type: name = 'Ready', status = 'True', reason } = wanted;
  let last: unknown;
  return waitFor(
    `${type.kind} ${ref.namespace}/${ref.name} to be ${name}=${status}${reason === undefined ? '' : ` (${reason})`}`,
    async () => {
      const object = await kube().find<WithConditions>(type, ref);
      const condition = object?.status?.conditions?.find((c) => c.type === name);
      last = object?.status?.conditions ?? 'no conditions';
      const current =
        condition?.observedGeneration === undefined || condition.observedGeneration === object?.metadata.generation;
      return condition?.status === status && current && (reason === undefined || condition.reason === reason)
        ? object
        : undefined;
    },
    timeoutMs,
    () => JSON.stringify(last),
  );
}

/** Polls until `probe` answers something; errors count as not yet. */
export async function waitFor<T>(
  what: string,
  probe: () => Promise<T | undefined>,
  timeoutMs = 60_000,
  last: () => string = () => '',
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  let problem = '';
  for (;;) {
    try {
      const answer = await probe();
      if (answer !== undefined) return answer;
      problem = '';
    } catch (error) {
      problem = (error as Error).message;
    }
    if (Date.now() > deadline) throw new Error(`waited ${timeoutMs} ms for ${what}. ${problem} ${last()}`);
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

/** Pods of a namespace and how often each container of theirs was restarted: equal twice means that nothing restarted. */
export async function podsAndRestarts(namespace: string): Promise<string[]> {
  type Pod = KubeObject & { status?: { containerStatuses?: { restartCount: number }[] } };
  const { items } = await kube().list<Pod>(builtin.pod, { namespace });
  return items
    .map((pod) => `${pod.metadata.uid} ${(pod.status?.containerStatuses ?? []).map((c) => c.restartCount).join()}`)
    .sort();
}
