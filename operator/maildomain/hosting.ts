import { type MailDomain, type MailDomainResolved, resolveMailDomain } from '../../crds/maildomain.js';
import type { MailSystem } from '../../crds/mailsystem.js';
import { losesTo, winner } from '../claims.js';

/** Which MailSystem serves a MailDomain, or why none does. */
export type Hosting =
  | { system: string; spec: MailDomainResolved }
  | { reason: 'InvalidSpec' | 'SystemNotFound' | 'AmbiguousSystem' | 'DomainConflict'; message: string };

/** What the decision is made from: the caches' view of one namespace. */
export interface HostingContext {
  /** MailSystems of the namespace. */
  systems: readonly MailSystem[];
  /** MailDomains of the namespace for the same domain, this one included. */
  claimants: (domain: string) => readonly MailDomain[];
}

/** Pure. A MailDomain that is being deleted is still hosted: its mailboxes go on working until it is gone. */
export function hostingOf(object: MailDomain, { systems, claimants }: HostingContext): Hosting {
  const spec = resolved(object);
  if ('reason' in spec) return spec;
  const namespace = object.metadata.namespace ?? '';
  const wanted = spec.system;
  const candidates = wanted === undefined ? systems : systems.filter((system) => system.metadata.name === wanted);
  const [system] = candidates;
  if (system === undefined) {
    const what = wanted === undefined ? 'no MailSystem' : `no MailSystem ${wanted}`;
    return {
      reason: 'SystemNotFound',
      message: `There is ${what} in namespace ${namespace}: create it${wanted === undefined ? '' : ', or correct spec.system'}.`,
    };
  }
  if (candidates.length > 1) {
    const names = candidates.map((s) => s.metadata.name).sort();
    return {
      reason: 'AmbiguousSystem',
      message: `Namespace ${namespace} has several MailSystems (${names.join(', ')}): say which in spec.system.`,
    };
  }
  const owner = losesTo(object, claimants(spec.domain));
  if (owner !== undefined) {
    return {
      reason: 'DomainConflict',
      message: `${spec.domain} is declared by MailDomain ${owner.metadata.name}, which is older: delete this one or that one.`,
    };
  }
  return { system: `${namespace}/${system.metadata.name}`, spec };
}

/** The MailDomain among claimants that has the domain. */
export function ownerOf(claimants: readonly MailDomain[]): MailDomain | undefined {
  return winner(claimants);
}

/** Canonical domain of an object; undefined when it doesn't parse. */
export function domainOf(object: MailDomain): string | undefined {
  const spec = resolved(object);
  return 'reason' in spec ? undefined : spec.domain;
}

function resolved(object: MailDomain): MailDomainResolved | { reason: 'InvalidSpec'; message: string } {
  try {
    return resolveMailDomain(object.spec, object.metadata.name);
  } catch (error) {
    return { reason: 'InvalidSpec', message: (error as Error).message };
  }
}
