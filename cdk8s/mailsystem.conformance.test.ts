import { request } from 'node:https';
import type { V1PodTemplateSpec } from '@kubernetes/client-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Client } from '../operator/runtime/client.js';
import { builtin, collectionPath, type KubeObject, objectPath, resourceTypeOf } from '../operator/runtime/object.js';
import type { ApiServer } from '../operator/runtime/testing/apiserver.js';
import { createNamespace, sharedApiServer, sharedClient } from '../operator/runtime/testing/shared.js';
import type { KubernetesObject } from './context.js';
import { mailSystemObjects } from './mailsystem.js';
import { OPERATOR_RULES, policyRules } from './operator-rbac.js';
import { workloads } from './testing/objects.js';
import { DEFAULT_SPEC, EXTERNAL_SPEC, FULL_SPEC, sampleContext } from './testing/sample.js';
import { FIXTURE_TEMPLATES } from './testing/templates.js';

let client: Client;
let server: ApiServer;
beforeAll(async () => {
  server = await sharedApiServer();
  client = await sharedClient();
});
afterAll(() => client?.close());

const SPECS = { default: DEFAULT_SPEC, full: FULL_SPEC, external: EXTERNAL_SPEC };

function children(namespace: string, spec = DEFAULT_SPEC): KubernetesObject[] {
  // Without a uid: an owner that doesn't exist would be none of the API server's business here.
  return mailSystemObjects(sampleContext(spec, { namespace, uid: undefined, templates: FIXTURE_TEMPLATES }));
}

async function apply(objects: KubernetesObject[]): Promise<KubeObject[]> {
  const live: KubeObject[] = [];
  for (const object of objects) {
    live.push(await client.applyServerSide(resourceTypeOf(object), object, { fieldManager: 'test' }));
  }
  return live;
}

describe.each(Object.entries(SPECS))('a real API server and the children of the %s spec', (_, spec) => {
  it('takes them, and stores them as they were written', async () => {
    const desired = children(await createNamespace(client, 'children'), spec);
    const live = await apply(desired);
    // Else the operator would see drift, and write, for ever.
    for (const [i, object] of desired.entries()) expect(live[i]).toMatchObject(object);
  });

  it('admits their pods at Pod Security level baseline, and those without Postfix at restricted', async () => {
    const objects = children('unused', spec);
    const baseline = await securedNamespace('baseline');
    const restricted = await securedNamespace('restricted');
    for (const workload of workloads(objects)) {
      const pod = podOf(
        workload.spec.template,
        workload.spec.volumeClaimTemplates?.map((c) => c.metadata?.name ?? ''),
      );
      await dryRun(baseline, pod);
      const postfix = /-(mx|submission|egress|forward)$/.test(workload.metadata.name);
      if (postfix) await expect(dryRun(restricted, pod)).rejects.toThrow('violates PodSecurity "restricted');
      else await dryRun(restricted, pod);
    }
  });
});

it('takes a changed MailSystem without a change of what is immutable', async () => {
  const namespace = await createNamespace(client, 'children');
  await apply(children(namespace));
  const changed = {
    ...FULL_SPEC,
    queue: DEFAULT_SPEC.queue,
    store: { ...DEFAULT_SPEC.store, shards: FULL_SPEC.store.shards },
    database: { ...DEFAULT_SPEC.database, members: 3 as const },
    redis: DEFAULT_SPEC.redis,
  };
  await apply(children(namespace, changed));
});

it("can be applied, changed and removed with the operator's rights, which do not reach beyond", async () => {
  const namespace = await createNamespace(client, 'rights');
  const user = `operator-of-${namespace}`;
  const meta = { name: user };
  const rules = policyRules(OPERATOR_RULES);
  const roleRef = { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: user };
  const version = 'rbac.authorization.k8s.io/v1';
  for (const object of [
    { apiVersion: version, kind: 'ClusterRole', metadata: meta, rules },
    {
      apiVersion: version,
      kind: 'RoleBinding',
      metadata: { ...meta, namespace },
      roleRef,
      subjects: [{ kind: 'User', name: user }],
    },
  ]) {
    await client.applyServerSide(resourceTypeOf(object), object, { fieldManager: 'test' });
  }
  const objects = children(namespace);
  const all = async (method: string, order: KubernetesObject[]) => {
    for (const object of order) {
      const path = objectPath(resourceTypeOf(object), { namespace, name: object.metadata.name });
      const { status, body } = await as(user, method, path, object);
      expect(status, `${method} ${path}: ${body}`).toBeLessThan(300);
    }
  };
  await all('PATCH', objects);
  await all('GET', objects);
  await all('PATCH', children(namespace, { ...DEFAULT_SPEC, mx: { replicas: 2 }, hostname: 'changed.example.org' }));
  await all('DELETE', [...objects].reverse());
  for (const path of [
    collectionPath(builtin.secret, 'default'),
    collectionPath(builtin.node),
    `${objectPath(builtin.pod, { namespace, name: 'x' })}/exec`,
  ]) {
    expect((await as(user, 'GET', path)).status, path).toBe(403);
  }
});

async function securedNamespace(level: string): Promise<string> {
  const namespace = await createNamespace(client, level);
  const labels = { 'pod-security.kubernetes.io/enforce': level };
  await client.patchMerge(builtin.namespace, { name: namespace }, { metadata: { labels } }, { fieldManager: 'test' });
  return namespace;
}

/** A pod as the workload's controller would make it; claims become empty directories. */
function podOf(template: V1PodTemplateSpec, claims: string[] = []) {
  const volumes = [...(template.spec?.volumes ?? []), ...claims.map((name) => ({ name, emptyDir: {} }))];
  return { labels: template.metadata?.labels, spec: { ...template.spec, volumes } };
}

async function dryRun(namespace: string, pod: ReturnType<typeof podOf>): Promise<void> {
  const object = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'pod', namespace, labels: pod.labels },
    spec: pod.spec,
  };
  await client.applyServerSide(builtin.pod, object, { fieldManager: 'test', dryRun: true });
}

/** A request of another user. */
function as(user: string, method: string, path: string, body?: object): Promise<{ status: number; body: string }> {
  const query = method === 'PATCH' ? '?fieldManager=test&force=true' : '';
  const headers = {
    authorization: `Bearer ${server.token}`,
    'impersonate-user': user,
    'content-type': 'application/apply-patch+yaml',
  };
  return new Promise((resolve, reject) => {
    const call = request(`${server.url}${path}${query}`, { method, ca: server.ca, headers }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => {
        text += chunk.toString();
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: text.slice(0, 300) }));
    });
    call.on('error', reject);
    call.end(method === 'PATCH' ? JSON.stringify(body) : undefined);
  });
}
