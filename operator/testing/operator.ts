/** All controllers against the shared API server (through a proxy that can break things) and a real PostgreSQL. */
import { join } from 'node:path';
import { readConfig } from '../config.js';
import { startControllers } from '../controllers.js';
import { type Directory, openDirectory } from '../directory/directory.js';
import type { TestPostgres } from '../directory/testing/postgres.js';
import { type Client, createClient } from '../runtime/client.js';
import { createEventRecorder } from '../runtime/events.js';
import { silentLog } from '../runtime/log.js';
import { createMetrics } from '../runtime/metrics.js';
import { builtin, type KubeObject } from '../runtime/object.js';
import type { ApiServer } from '../runtime/testing/apiserver.js';
import { type FaultProxy, startProxy } from '../runtime/testing/proxy.js';
import { eventually, sharedApiServer } from '../runtime/testing/shared.js';
import { forwardRuleType, mailboxMoveType, mailboxType, mailDomainType, mailSystemType } from '../types.js';
import { type MemorySigningCache, memorySigningCache } from './memory.js';

/** The folder with the generated CRDs. */
export const CRDS = join(import.meta.dirname, '../../crds/generated');

export interface TestOperator {
  proxy: FaultProxy;
  /** Calls of a method of a directory so far. */
  calls(method: keyof Directory): number;
  stop(): Promise<void>;
}

export interface TestOperatorOptions {
  /** Undefined: all namespaces. Only with a server of one's own, or others' objects are looked after too. */
  namespace: string | undefined;
  /** Default: the one that all test files share. */
  server?: ApiServer;
  postgres: TestPostgres;
  signing?: MemorySigningCache;
  /** Called before the controllers start. */
  prepare?: (proxy: FaultProxy) => void;
}

/** Starts them and waits until their caches are complete. */
export async function startOperator({
  namespace,
  postgres,
  signing = memorySigningCache(),
  prepare,
  server,
}: TestOperatorOptions): Promise<TestOperator> {
  const proxy = await startProxy(server ?? (await sharedApiServer()));
  prepare?.(proxy);
  const client = createClient(proxy.connection, { attempts: 2 });
  const counts = new Map<string, number>();
  const controllers = await startControllers({
    namespace,
    client,
    config: readConfig({ POSTHORN_CLUSTER_DNS: '10.96.0.10' }),
    events: createEventRecorder({ client, component: 'posthorn', log: silentLog }),
    log: silentLog,
    metrics: createMetrics(),
    connect: () => ({
      directory: counted(openDirectory({ host: '127.0.0.1', port: postgres.port }), counts),
      signing,
    }),
  });
  return {
    proxy,
    calls: (method) => counts.get(method) ?? 0,
    stop: async () => {
      await controllers.stop();
      client.close();
      await proxy.close();
    },
  };
}

function counted(directory: Directory, counts: Map<string, number>): Directory {
  return new Proxy(directory, {
    get: (target, name: string) => {
      const method = target[name as keyof Directory] as (...args: unknown[]) => unknown;
      return (...args: unknown[]) => {
        counts.set(name, (counts.get(name) ?? 0) + 1);
        return method(...args);
      };
    },
  });
}

/** The objects of one namespace, as a person would handle them. */
export interface Kubectl {
  system(name: string, spec?: object): Promise<KubeObject>;
  domain(name: string, spec?: object): Promise<KubeObject>;
  mailbox(name: string, spec?: object, metadata?: object): Promise<KubeObject>;
  rule(name: string, spec: object, metadata?: object): Promise<KubeObject>;
  move(name: string, spec: object): Promise<KubeObject>;
  secret(name: string, password: string): Promise<KubeObject>;
  get(kind: Kind, name: string): Promise<StatusObject>;
  delete(kind: Kind, name: string): Promise<boolean>;
  patch(kind: Kind, name: string, patch: object): Promise<KubeObject>;
  /** Waits until a condition has that status and reason. */
  until(kind: Kind, name: string, type: string, status: string, reason?: string): Promise<StatusObject>;
  untilGone(kind: Kind, name: string): Promise<void>;
}

type Kind = keyof typeof types;

export interface StatusObject extends KubeObject {
  status?: {
    uuid?: string;
    shard?: string;
    phase?: string;
    shards?: { name: string; primary?: string; epoch: number; members: { pod: string; state: string }[] }[];
    targets?: number;
    records?: { name: string; type: string; value: string }[];
    ownership?: { verifiedAt: string; missingSince?: string };
    detail?: string;
    observedGeneration?: number;
    conditions?: { type: string; status: string; reason: string; message: string }[];
  };
}

const types = {
  system: mailSystemType,
  domain: mailDomainType,
  mailbox: mailboxType,
  rule: forwardRuleType,
  move: mailboxMoveType,
  secret: builtin.secret,
} as const;

export function kubectl(client: Client, namespace: string): Kubectl {
  const by = { fieldManager: 'test' };
  const create = (kind: Kind, name: string, body: object, metadata: object = {}): Promise<KubeObject> => {
    const { group, version, kind: word } = types[kind];
    const apiVersion = group === '' ? version : `${group}/${version}`;
    return client.create(
      types[kind],
      { apiVersion, kind: word, metadata: { ...metadata, name, namespace }, ...body },
      by,
    );
  };
  const get = (kind: Kind, name: string) => client.get<StatusObject>(types[kind], { namespace, name });
  return {
    system: (name, spec = {}) => create('system', name, { spec: { hostname: 'mx.example.org', ...spec } }),
    domain: (name, spec = {}) => create('domain', name, { spec }),
    mailbox: (name, spec = {}, metadata = {}) =>
      create('mailbox', name, { spec: { address: `${name}@example.org`, ...spec } }, metadata),
    rule: (name, spec, metadata = {}) =>
      create('rule', name, { spec: { address: `${name}@example.org`, ...spec } }, metadata),
    move: (name, spec) => create('move', name, { spec }),
    secret: (name, password) => create('secret', name, { stringData: { password } }),
    get,
    delete: (kind, name) => client.delete(types[kind], { namespace, name }),
    patch: (kind, name, patch) => client.patchMerge(types[kind], { namespace, name }, patch, by),
    until: (kind, name, type, status, reason) =>
      eventually(async () => {
        const object = await get(kind, name);
        const condition = object.status?.conditions?.find((c) => c.type === type);
        const current = object.status?.observedGeneration === object.metadata.generation;
        if (!current || condition?.status !== status || (reason !== undefined && condition.reason !== reason))
          throw new Error(
            `${name}: ${type} is ${JSON.stringify(object.status ?? null)}, not ${status} ${reason ?? ''}`,
          );
        return object;
      }, 30_000),
    untilGone: (kind, name) =>
      eventually(async () => {
        if ((await client.find(types[kind], { namespace, name })) !== undefined)
          throw new Error(`${name} is still there`);
      }, 30_000),
  };
}
