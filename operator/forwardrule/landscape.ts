import { parseAddress } from '../../crds/address.js';
import { type ForwardRule, type ForwardRuleResolved, resolveForwardRule } from '../../crds/forwardrule.js';
import type { Mailbox } from '../../crds/mailbox.js';
import { type MailDomain, resolveMailDomain } from '../../crds/maildomain.js';
import type { MailSystemResolved } from '../../crds/mailsystem.js';
import { byAge } from '../claims.js';
import type { RequireRow } from '../directory/rows.js';
import { claimedAddresses } from '../mailbox/desired.js';
import type { DomainHost, HostingView } from '../maildomain/controller.js';
import type { CacheReader } from '../runtime/cache.js';
import { isInsideName } from './names.js';
import { missingRequirement, type Required, requiredByForward, requiredByMailbox, requireRow } from './requirements.js';

/** What the caches say of the addresses of a MailSystem. Who really has a contested one is the directory's to decide. */
export interface Landscape {
  /** The MailDomain of this domain in a namespace, and its system. */
  domain(namespace: string, domain: string): DomainHost | undefined;
  /** The MailDomain by which a system hosts a domain. */
  host(system: string, domain: string): MailDomain | undefined;
  mailbox(namespace: string, name: string): Mailbox | undefined;
  /** Who has exactly this address in a system. */
  owner(system: string, address: string): Owner | undefined;
  /** Where an address in a domain of a system is looked for: itself, then postmaster's and the catch-all. */
  candidates(system: string, address: string): string[];
  /** Who gets mail for it: the owner of the first of these that leads somewhere. */
  receiver(system: string, address: string): Owner | undefined;
  /** What is asked of the mail of a rule. */
  required(rule: ForwardRule, spec: ForwardRuleResolved): Required;
  /** What speaks against a target of mail from somewhere. */
  fault(system: string, source: Source, target: string): TargetFault | undefined;
}

/** Where mail for a target comes from: a rule in a namespace, with what has been asked of its senders. */
export interface Source {
  namespace: string;
  required: Required;
}

export type TargetFault =
  | { reason: 'TargetNotAllowed' | 'ConsentMissing' | 'TargetNotFound' }
  | { reason: 'RequirementMissing'; wanted: RequireRow };

export type Owner = { kind: 'mailbox'; object: Mailbox } | { kind: 'forward'; object: ForwardRule };

/** Addresses that somebody answers for in every domain (RFC 2142), unless they are given to others. */
const POSTMASTERS = ['postmaster', 'abuse'];

export interface LandscapeSources {
  rules: CacheReader<ForwardRule>;
  mailboxes: CacheReader<Mailbox>;
  hosting: Pick<HostingView, 'domain' | 'host'>;
  /** Its spec, if the MailSystem exists and can be understood. */
  systemSpec: (system: string) => MailSystemResolved | undefined;
  /** Whether a rule has a webhook or a command that may get mail. */
  hasBot: (rule: ForwardRule, spec: ForwardRuleResolved, system: string) => boolean;
  /** Of this cluster, such as cluster.local. */
  clusterDomain: string;
}

export function createLandscape(sources: LandscapeSources): Landscape {
  const { rules, mailboxes, hosting, systemSpec, hasBot, clusterDomain } = sources;
  const isIn = (system: string, address: string, namespace = ''): boolean =>
    hosting.domain(namespace, domainPart(address))?.system === system;

  const owner = (system: string, address: string): Owner | undefined => {
    const inSystem = <T extends Mailbox | ForwardRule>(objects: readonly T[]): T[] =>
      objects.filter(({ metadata }) => isIn(system, address, metadata.namespace));
    const boxes = inSystem(mailboxes.byIndex('address', address));
    const forwards = inSystem(rules.byIndex('address', address)).sort(byAge);
    const attachedTo = (rule: ForwardRule) => boxes.find((box) => isAttached(rule, box));
    const free = forwards.filter((rule) => attachedTo(rule) === undefined);
    const [first] = [...boxes, ...free].sort(byAge);
    if (first === undefined) return undefined;
    if (first.kind === 'ForwardRule') return { kind: 'forward', object: first };
    const attached = forwards.find((rule) => attachedTo(rule) === first);
    return attached === undefined ? { kind: 'mailbox', object: first } : { kind: 'forward', object: attached };
  };

  const candidates = (system: string, address: string): string[] => [
    address,
    ...postmasterFor(systemSpec(system), address),
    `*@${domainPart(address)}`,
  ];

  /** @param looked rules that were looked at on the way, and whether they lead anywhere */
  const receiver = (system: string, address: string, looked: Map<string, boolean>): Owner | undefined => {
    for (const candidate of candidates(system, address)) {
      const found = owner(system, candidate);
      if (found !== undefined && (found.kind === 'mailbox' || leads(system, found.object, looked))) return found;
    }
    return undefined;
  };

  /** A rule without a single possible target is not in the directory. One in a circle is taken to lead somewhere, so that it is found. */
  const leads = (system: string, rule: ForwardRule, looked: Map<string, boolean>): boolean => {
    const uid = rule.metadata.uid ?? '';
    const known = looked.get(uid);
    if (known !== undefined) return known;
    looked.set(uid, true);
    const spec = resolved(rule);
    const anyOf = (value: ForwardRuleResolved): boolean => {
      const source = { namespace: rule.metadata.namespace ?? '', required: required(rule, value) };
      return (
        hasBot(rule, value, system) || value.to.some((target) => fault(system, source, target, looked) === undefined)
      );
    };
    const any = 'value' in spec && anyOf(spec.value);
    looked.set(uid, any);
    return any;
  };

  const mailbox = (namespace: string, name: string): Mailbox | undefined => mailboxes.get(`${namespace}/${name}`);

  const required = ({ metadata }: ForwardRule, spec: ForwardRuleResolved): Required =>
    requiredByForward(
      { address: spec.address, require: requireRow(spec) },
      spec.keepCopy && mailbox(metadata.namespace ?? '', spec.keepCopy.mailbox),
    );

  const requiredBy = (receiver: Owner): Required => {
    if (receiver.kind === 'mailbox') return requiredByMailbox(receiver.object);
    const spec = resolved(receiver.object);
    // What comes after that rule needs no look: it hands nothing to somebody who asks for more.
    return 'value' in spec ? required(receiver.object, spec.value) : [];
  };

  const fault = (
    system: string,
    source: Source,
    target: string,
    looked: Map<string, boolean>,
  ): TargetFault | undefined => {
    const address = baseOf(target);
    const host = hosting.host(system, domainPart(address));
    if (host === undefined) {
      return isInsideName(domainPart(address), clusterDomain) ? { reason: 'TargetNotAllowed' } : undefined;
    }
    if (!consents(host, source.namespace)) return { reason: 'ConsentMissing' };
    const found = receiver(system, address, looked);
    if (found === undefined) return { reason: 'TargetNotFound' };
    const wanted = missingRequirement(source.required, requiredBy(found));
    return wanted && { reason: 'RequirementMissing', wanted };
  };

  return {
    domain: hosting.domain,
    host: hosting.host,
    mailbox,
    owner,
    candidates,
    receiver: (system, address) => receiver(system, address, new Map()),
    required,
    fault: (system, source, target) => fault(system, source, target, new Map()),
  };
}

function postmasterFor(spec: MailSystemResolved | undefined, address: string): string[] {
  const local = address.slice(0, address.lastIndexOf('@'));
  return spec?.postmaster !== undefined && POSTMASTERS.includes(local) ? [spec.postmaster] : [];
}

/** Whether a rule forwards the mail of a mailbox: its address is one of the mailbox's own, and the mailbox keeps a copy. */
function isAttached(rule: ForwardRule, box: Mailbox): boolean {
  return rule.spec.keepCopy?.mailbox === box.metadata.name && rule.metadata.namespace === box.metadata.namespace;
}

/** Addresses that an object claims, for events: one that doesn't parse claims nothing. */
export function addressesOf(object: ForwardRule | Mailbox): string[] {
  if (object.kind === 'Mailbox') return claimedAddresses(object);
  const spec = resolved(object);
  return 'value' in spec ? [spec.value.address] : [];
}

/** A target without its detail, in canonical form: what somebody may own. */
export function baseOf(target: string): string {
  const { local, domain } = parseAddress(target);
  return `${local}@${domain}`;
}

export function domainPart(address: string): string {
  return address.slice(address.lastIndexOf('@') + 1);
}

/** Whether the MailDomain lets objects of a namespace forward to its addresses. */
export function consents(host: MailDomain, namespace: string): boolean {
  if (host.metadata.namespace === namespace) return true;
  const { acceptForwardsFrom } = resolveMailDomain(host.spec, host.metadata.name);
  return acceptForwardsFrom.some((name) => name === namespace || name === '*');
}

export type Resolution = { value: ForwardRuleResolved } | { message: string };

/** Indexes, landscapes and reconciliation all ask for the same: objects in caches never change. */
const resolutions = new WeakMap<ForwardRule['spec'], Resolution>();

export function resolved({ spec }: ForwardRule): Resolution {
  const known = resolutions.get(spec) ?? resolve(spec);
  resolutions.set(spec, known);
  return known;
}

function resolve(spec: ForwardRule['spec']): Resolution {
  try {
    return { value: resolveForwardRule(spec) };
  } catch (error) {
    return { message: (error as Error).message };
  }
}
