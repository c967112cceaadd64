import { type MailDomain, type MailDomainResolved, resolveMailDomain } from '../../crds/maildomain.js';
import type { MailSystem } from '../../crds/mailsystem.js';
import { winner } from '../claims.js';
import { challengeName, verifiedAt } from './ownership.js';

/** Which MailSystem serves a MailDomain, or why none does. */
export type Hosting = { system: string; spec: MailDomainResolved } | NotHosted;

export interface NotHosted {
  reason:
    | 'InvalidSpec'
    | 'SystemNotFound'
    | 'AmbiguousSystem'
    | 'TenantNotAdmitted'
    | 'OwnershipNotVerified'
    | 'DomainConflict';
  message: string;
  /** With OwnershipNotVerified: who serves it once the DNS has the record. */
  pending?: { system: string; spec: MailDomainResolved };
}

/** What the decision is made from: the caches' view. */
export interface HostingContext {
  /** MailSystems of a namespace. */
  systems: (namespace: string) => readonly MailSystem[];
  /** MailDomains for a domain in every namespace, the one in question included. */
  claimants: (domain: string) => readonly MailDomain[];
}

/** Pure. A MailDomain that is being deleted is still hosted: its mailboxes go on working until it is gone. */
export function hostingOf(object: MailDomain, context: HostingContext): Hosting {
  const target = targetOf(object, context);
  if ('reason' in target) return target;
  const { system, spec, since } = target;
  const { namespace } = object.metadata;
  if (since === undefined) {
    const message = `Enter the TXT record ${challengeName(spec.domain)} of status.records in the DNS, to show that ${spec.domain} is yours. It is looked for again and again.`;
    return { reason: 'OwnershipNotVerified', message, pending: { system, spec } };
  }
  const rivals = rivalsOf(object, system, spec.domain, context);
  const owner = rivals.find((rival) => isBefore(rival, { since, uid: object.metadata.uid ?? '' }));
  if (owner === undefined) return { system, spec };
  const who =
    owner.object.metadata.namespace === namespace
      ? `MailDomain ${owner.object.metadata.name}, which is older`
      : 'an object of another namespace, which had it first';
  return { reason: 'DomainConflict', message: `${spec.domain} is declared by ${who}: delete this one or that one.` };
}

/** The MailDomain among claimants of one namespace that others of it should ask about the domain. */
export function ownerOf(claimants: readonly MailDomain[], context: HostingContext): MailDomain | undefined {
  return claimants.find((object) => 'system' in hostingOf(object, context)) ?? winner(claimants);
}

/** Canonical domain of an object; undefined when it doesn't parse. */
export function domainOf(object: MailDomain): string | undefined {
  const spec = resolved(object);
  return 'reason' in spec ? undefined : spec.domain;
}

/** Namespace of the MailSystem that an object asks for. */
export function systemNamespaceOf({ metadata, spec }: MailDomain): string {
  return spec?.systemNamespace ?? metadata.namespace ?? '';
}

interface Target {
  system: string;
  spec: MailDomainResolved;
  /** From when on the domain is claimed: an object of the system's own namespace from its creation on, a tenant's from its proof on. */
  since: string | undefined;
}

interface Claim {
  object: MailDomain;
  since: string;
  uid: string;
}

/** The MailSystem that an object asks for and that admits it, whoever else claims the domain. */
function targetOf(object: MailDomain, context: HostingContext): Target | NotHosted {
  const spec = resolved(object);
  if ('reason' in spec) return spec;
  const { namespace = '', creationTimestamp = '' } = object.metadata;
  const home = systemNamespaceOf(object);
  const system = home === namespace ? ownSystem(spec, home, context) : landlord(spec, namespace, home, context);
  if (typeof system !== 'string') return system;
  return { system, spec, since: home === namespace ? creationTimestamp : verifiedAt(object, spec.domain) };
}

function ownSystem(
  { system: wanted }: MailDomainResolved,
  namespace: string,
  { systems }: HostingContext,
): string | NotHosted {
  const candidates = systems(namespace).filter(({ metadata }) => wanted === undefined || metadata.name === wanted);
  if (candidates.length === 0) {
    const what = wanted === undefined ? 'no MailSystem' : `no MailSystem ${wanted}`;
    const elsewhere =
      wanted === undefined ? ', or name one of another namespace in spec.systemNamespace' : ', or correct spec.system';
    return {
      reason: 'SystemNotFound',
      message: `There is ${what} in namespace ${namespace}: create it${elsewhere}.`,
    };
  }
  return only(candidates, namespace);
}

/** Says the same whether there is no such MailSystem or it does not want us: what others have is theirs to tell. */
function landlord(
  { system: wanted }: MailDomainResolved,
  tenant: string,
  namespace: string,
  { systems }: HostingContext,
): string | NotHosted {
  const candidates = systems(namespace).filter(
    (system) => (wanted === undefined || system.metadata.name === wanted) && admits(system, tenant),
  );
  if (candidates.length === 0) {
    const what = wanted === undefined ? 'No MailSystem' : `No MailSystem ${wanted}`;
    const message = `${what} in namespace ${namespace} admits namespace ${tenant}: whoever runs it has to add ${tenant} to its spec.tenants.namespaces. (An operator that looks after single namespaces does not see others.)`;
    return { reason: 'TenantNotAdmitted', message };
  }
  return only(candidates, namespace);
}

function admits({ spec }: MailSystem, tenant: string): boolean {
  return spec.tenants?.namespaces?.some((name) => name === tenant || name === '*') ?? false;
}

function only(candidates: readonly MailSystem[], namespace: string): string | NotHosted {
  const names = candidates.map(({ metadata }) => metadata.name).sort();
  if (names.length === 1) return `${namespace}/${names[0]}`;
  const message = `Namespace ${namespace} has several MailSystems (${names.join(', ')}): say which in spec.system.`;
  return { reason: 'AmbiguousSystem', message };
}

/**
 * Who else claims the domain: in the same namespace everybody, because addresses are looked up there by domain alone; in others
 * those of the same MailSystem. Who has not proved that the domain is theirs keeps nobody from anything.
 */
function rivalsOf(object: MailDomain, system: string, domain: string, context: HostingContext): Claim[] {
  const { uid, namespace } = object.metadata;
  return context
    .claimants(domain)
    .filter((rival) => rival.metadata.uid !== uid)
    .flatMap((rival) => claimOf(rival, rival.metadata.namespace === namespace ? undefined : system, context));
}

/** @param within only if it claims the domain in this MailSystem; undefined: in any, or while it waits for one */
function claimOf(object: MailDomain, within: string | undefined, context: HostingContext): Claim[] {
  const target = targetOf(object, context);
  if ('reason' in target) {
    const waits = within === undefined && !isGuest(object);
    return waits ? [claim(object, object.metadata.creationTimestamp ?? '')] : [];
  }
  const { since, system } = target;
  return since === undefined || (within !== undefined && system !== within) ? [] : [claim(object, since)];
}

function isGuest(object: MailDomain): boolean {
  return systemNamespaceOf(object) !== object.metadata.namespace;
}

function claim(object: MailDomain, since: string): Claim {
  return { object, since, uid: object.metadata.uid ?? '' };
}

function isBefore(a: { since: string; uid: string }, b: { since: string; uid: string }): boolean {
  return a.since < b.since || (a.since === b.since && a.uid < b.uid);
}

/** Asked for again and again by indexes and look-ups: objects in caches never change. */
const resolutions = new WeakMap<MailDomain, MailDomainResolved | NotHosted>();

function resolved(object: MailDomain): MailDomainResolved | NotHosted {
  const known = resolutions.get(object) ?? resolve(object);
  resolutions.set(object, known);
  return known;
}

function resolve(object: MailDomain): MailDomainResolved | NotHosted {
  try {
    return resolveMailDomain(object.spec, object.metadata.name);
  } catch (error) {
    return { reason: 'InvalidSpec', message: (error as Error).message };
  }
}
