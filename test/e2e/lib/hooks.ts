/** Programs in the world outside that get mail by HTTPS. */
import { createHash } from 'node:crypto';
import { builtin, type KubeObject } from '../../../operator/runtime/object.js';
import { outsideCertificate } from './certificate.js';
import { apply, kube, waitFor } from './kube.js';
import { bundle, clusterIp, outsideNamespace, outsideWorkload } from './outside.js';

/** What `spec.webhooks.allowHosts` of the shared MailSystem names. */
export const hooksHost = `hooks.${outsideNamespace}.svc`;

export interface HookRequest {
  path: string;
  headers: Record<string, string>;
  /** base64 */
  body: string;
  at: string;
}

export interface Hooks {
  /** Of the server's certificate, PEM. */
  ca: string;
  /** What came to a path. */
  requests(path: string): Promise<HookRequest[]>;
}

/** Starts the server of test/outside/hooks.ts. */
export async function startHooks(): Promise<Hooks> {
  const ca = await outsideCertificate('hooks');
  const script = await bundle('hooks.ts');
  const version = createHash('sha256').update(script).digest('hex').slice(0, 16);
  const ports = [
    { name: 'https', port: 443 },
    { name: 'http', port: 8080 },
  ];
  await apply(
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'hooks', namespace: outsideNamespace },
      binaryData: { 'hooks.cjs.gz': script },
    } as KubeObject,
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'hooks', namespace: outsideNamespace },
      spec: { selector: { app: 'hooks' }, ports },
    } as KubeObject,
    outsideWorkload(
      'hooks',
      ['sh', '-c', 'gzip -dc /scripts/hooks.cjs.gz >/run/hooks.cjs && exec node /run/hooks.cjs'],
      {
        port: 443,
        version,
        volumes: [
          { name: 'scripts', mountPath: '/scripts', configMap: { name: 'hooks' } },
          { name: 'tls', mountPath: '/tls', secret: { secretName: 'hooks-tls' } },
        ],
      },
    ),
  );
  const address = await clusterIp('hooks');
  const all = async () => (await (await fetch(`http://${address}:8080/requests`)).json()) as HookRequest[];
  await waitFor('the webhooks to listen', all, 60_000);
  await waitFor('one pod of them', async () => {
    const { items } = await kube().list(builtin.pod, { namespace: outsideNamespace, labelSelector: 'app=hooks' });
    return items.length === 1 ? true : undefined;
  });
  return { ca, requests: async (path) => (await all()).filter((request) => request.path === path) };
}
