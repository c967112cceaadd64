import { builtin, type KubeObject } from '../../../operator/runtime/object.js';
import { createAuthority } from '../../../operator/runtime/testing/certificates.js';
import { apply, kube } from './kube.js';
import { outsideNamespace } from './outside.js';

type Secret = KubeObject & { data?: Record<string, string> };

/**
 * A certificate for a Service of the world outside, in Secret `NAME-tls` there, from a CA of its own. Made once.
 *
 * @returns the CA's certificate, PEM
 */
export async function outsideCertificate(name: string): Promise<string> {
  const ref = { namespace: outsideNamespace, name: `${name}-tls` };
  const found = await kube().find<Secret>(builtin.secret, ref);
  if (found?.data?.['ca.crt'] !== undefined) return Buffer.from(found.data['ca.crt'], 'base64').toString('utf8');
  const authority = await createAuthority();
  const short = `${name}.${outsideNamespace}.svc`;
  const { cert, key } = await authority.issue({ cn: name, names: [short, `${short}.cluster.local`] });
  const stringData = { 'ca.crt': authority.cert, 'tls.crt': cert, 'tls.key': key };
  await apply({ apiVersion: 'v1', kind: 'Secret', metadata: ref, stringData } as KubeObject);
  return authority.cert;
}
