/** For test files: the shared API server, namespaces of one's own, CRDs. */
import { randomBytes } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inject } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { type Client, type ClientOptions, createClient } from '../client.js';
import { loadConnection } from '../kubeconfig.js';
import { builtin, type KubeObject } from '../object.js';
import type { ApiServer } from './apiserver.js';
import './global-setup.js';

/** The API server that all test files share; started at the first call (about 6 s). */
export async function sharedApiServer(): Promise<ApiServer> {
  const answer = await fetch(inject('apiServerBroker'));
  if (!answer.ok) throw new Error(await answer.text());
  return (await answer.json()) as ApiServer;
}

/** An administrator's client for it. Close it after the tests. */
export async function sharedClient(options: ClientOptions = {}): Promise<Client> {
  const { kubeconfigPath } = await sharedApiServer();
  return createClient(loadConnection({ path: kubeconfigPath }), options);
}

/** Makes a namespace that no other test uses. It is not deleted: nothing in this API server could finish that. */
export async function createNamespace(client: Client, prefix = 'test'): Promise<string> {
  const name = `${prefix}-${randomBytes(4).toString('hex')}`;
  const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name } };
  await client.create(builtin.namespace, namespace, { fieldManager: 'test' });
  return name;
}

interface Crd extends KubeObject {
  status?: { conditions?: { type: string; status: string }[] };
}

/** Applies every CRD in the folder's YAML files and waits until they are established. */
export async function installCrds(client: Client, folder: string): Promise<void> {
  const files = (await readdir(folder)).filter((name) => /\.ya?ml$/.test(name));
  const texts = await Promise.all(files.map((name) => readFile(join(folder, name), 'utf8')));
  const objects = texts.flatMap((text) =>
    parseAllDocuments(text).map((document) => document.toJS() as KubeObject | null),
  );
  const crds = objects.filter((object): object is Crd => object?.kind === 'CustomResourceDefinition');
  if (crds.length === 0) throw new Error(`no CustomResourceDefinition in ${folder}`);
  await Promise.all(crds.map((crd) => installCrd(client, crd)));
}

/** Applies one CRD and waits until it is established. */
export async function installCrd(client: Client, crd: KubeObject): Promise<void> {
  await client.applyServerSide(builtin.customResourceDefinition, crd, { fieldManager: 'test' });
  await eventually(async () => {
    const { status } = await client.get<Crd>(builtin.customResourceDefinition, { name: crd.metadata.name });
    const established = status?.conditions?.some(({ type, status: is }) => type === 'Established' && is === 'True');
    if (established !== true) throw new Error(`${crd.metadata.name} is not established`);
  });
}

/** Repeats the check until it passes; throws its last error after `timeoutMs`. */
export async function eventually<T>(check: () => T | Promise<T>, timeoutMs = 15_000): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
