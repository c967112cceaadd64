import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { helmProgram } from '../cdk8s/testing/helm.js';
import { type Client, createClient } from '../operator/runtime/client.js';
import { loadConnection } from '../operator/runtime/kubeconfig.js';
import { builtin, collectionPath, type KubeObject, resourceTypeOf } from '../operator/runtime/object.js';
import { type RunningApiServer, startApiServer } from '../operator/runtime/testing/apiserver.js';

const HELM = helmProgram() ?? '';
const CHART = join(import.meta.dirname, 'posthorn');

// One of its own: a release owns the definitions, which other tests apply to the shared one.
let server: RunningApiServer;
let client: Client;
beforeAll(async () => {
  if (!HELM) return;
  server = await startApiServer();
  client = createClient(loadConnection({ path: server.kubeconfigPath }));
});
afterAll(async () => {
  client?.close();
  await server?.stop();
});

async function helm(...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(HELM, [...args, '--kubeconfig', server.kubeconfigPath]);
  return stdout;
}

async function definitions(): Promise<string[]> {
  const path = collectionPath(builtin.customResourceDefinition);
  const { items } = await client.request<{ items: KubeObject[] }>('GET', path);
  return items.map((crd) => crd.metadata.name).sort();
}

const PLURALS = ['forwardrules', 'mailboxes', 'mailboxmoves', 'maildomains', 'mailsystems'];
const KINDS = PLURALS.map((plural) => `${plural}.posthorn.dev`);

(HELM ? describe : describe.skip)('the chart on a real API server', () => {
  it('is installed, upgraded and rolled back', async () => {
    const out = await helm('install', 'posthorn', CHART, '--namespace', 'ops', '--create-namespace');
    expect(out).toContain('kubectl -n ops rollout status deployment/posthorn');
    expect(await definitions()).toEqual(KINDS);
    await helm('upgrade', 'posthorn', CHART, '--namespace', 'ops', '--set', 'replicas=2,logLevel=debug');
    const upgraded = await client.get<KubeObject & { spec: { replicas: number } }>(builtin.deployment, {
      namespace: 'ops',
      name: 'posthorn',
    });
    expect(upgraded.spec.replicas).toBe(2);
    await helm('rollback', 'posthorn', '1', '--namespace', 'ops');
  });

  it('refuses a bad value and leaves the release as it was', async () => {
    await expect(helm('upgrade', 'posthorn', CHART, '--namespace', 'ops', '--set', 'replica=2')).rejects.toThrow(
      'replica',
    );
    expect(await helm('status', 'posthorn', '--namespace', 'ops')).toContain('STATUS: deployed');
  });

  it('leaves the definitions behind when it is uninstalled, and takes them over again', async () => {
    await helm('uninstall', 'posthorn', '--namespace', 'ops');
    expect(await definitions()).toEqual(KINDS);
    await helm('install', 'posthorn', CHART, '--namespace', 'ops');
    await helm('uninstall', 'posthorn', '--namespace', 'ops');
  });

  it('can be had as one plain manifest', async () => {
    const manifest = readFileSync(join(import.meta.dirname, 'posthorn.yaml'), 'utf8');
    for (const document of parseAllDocuments(manifest)) {
      const object = document.toJS() as KubeObject;
      await client.applyServerSide(resourceTypeOf(object), object, { fieldManager: 'kubectl' });
    }
  });

  it('runs the operator at Pod Security level restricted', async () => {
    const ref = { namespace: 'posthorn-system', name: 'posthorn' };
    const { spec } = await client.get<KubeObject & { spec: { template: { spec: object } } }>(builtin.deployment, ref);
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { ...ref }, spec: spec.template.spec };
    await client.applyServerSide(builtin.pod, pod, { fieldManager: 'test', dryRun: true });
  });
});
