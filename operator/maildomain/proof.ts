import type { MailDomain } from '../../crds/maildomain.js';
import { writeStatus } from '../runtime/conditions.js';
import type { Result } from '../runtime/controller.js';
import { mailDomainType } from '../types.js';
import type { Hosted, MailDomainDependencies } from './dependencies.js';
import type { NotHosted } from './hosting.js';
import { challengeRecord } from './ownership.js';
import { writeDomainStatus } from './report.js';
import type { Ownership, Verification } from './verify.js';

/** A tenant's domain is served from the moment on that the DNS says whose it is. */
export async function awaitProof(
  deps: MailDomainDependencies,
  object: MailDomain,
  hosting: NotHosted,
): Promise<Result> {
  const { pending } = hosting;
  if (pending === undefined) return {};
  const { domain } = pending.spec;
  const verification = await verify(deps, object, pending.system, domain);
  const { state } = verification;
  if (state.ok) {
    await rememberProof(deps, object, verification.ownership);
    deps.onVerified(domain);
    return { requeueAfterMs: 0 };
  }
  const none = { ok: false as const, reason: hosting.reason, message: state.message };
  await writeDomainStatus(
    deps,
    object,
    {
      system: none,
      dkim: none,
      directory: none,
      ownership: state,
      records: [challengeRecord(object.metadata.uid ?? '', domain)],
      mailboxes: 0,
      deleting: false,
    },
    domain,
    verification.ownership,
  );
  return { requeueAfterMs: verification.nextMs };
}

async function rememberProof(deps: MailDomainDependencies, object: MailDomain, ownership: Ownership): Promise<void> {
  const written = await writeStatus({
    client: deps.keys.client,
    type: mailDomainType,
    object,
    status: { ...object.status, ownership },
    fieldManager: 'posthorn-maildomain',
  });
  if (written) deps.domains.observe(written as MailDomain);
}

/** Undefined for a domain of the MailSystem's own namespace: whoever may write there may do with it as they like. */
export async function verifyTenant(
  deps: MailDomainDependencies,
  object: MailDomain,
  { system, spec }: Hosted,
): Promise<Verification | undefined> {
  return isTenant(object, system) ? verify(deps, object, system, spec.domain) : undefined;
}

/** Whether the MailSystem is in another namespace. */
export function isTenant({ metadata }: MailDomain, system: string): boolean {
  return !system.startsWith(`${metadata.namespace}/`);
}

async function verify(
  deps: MailDomainDependencies,
  object: MailDomain,
  system: string,
  domain: string,
): Promise<Verification> {
  const resolver = deps.resolverOf(system) ?? { forwarders: [], rootServers: [], trustAnchors: [] };
  return deps.verifier.verify(object, domain, resolver);
}
