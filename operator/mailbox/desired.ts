import { type Mailbox, type MailboxResolved, type MailboxState, resolveMailbox } from '../../crds/mailbox.js';
import type { MemberRow, RequireRow, SendingRow } from '../directory/rows.js';
import { declaredScript } from './sieve.js';

/** What a mailbox needs to know of the domain that an address lies in. */
export interface HostingDomain {
  /** Name of the MailDomain object. */
  name: string;
  /** `namespace/name` of the MailSystem that serves it; undefined while the MailDomain has none. */
  system: string | undefined;
  /** Why it has none. */
  waiting?: string | undefined;
}

/** What surrounds one mailbox, as the caches show it. Who has a contested address is the directory's to decide. */
export interface MailboxContext {
  /** The MailDomain of this domain in the mailbox's namespace. */
  domain: (domain: string) => HostingDomain | undefined;
}

/** Something that keeps a mailbox from being what its spec asks for: a condition's reason and message. */
export interface Problem {
  reason: 'InvalidSpec' | 'DomainNotFound' | 'SystemNotFound';
  message: string;
}

/** A mailbox as the directory should have it. */
export interface DesiredMailbox {
  /** `namespace/name` of the MailSystem. */
  system: string;
  uuid: string;
  /** Canonical form. */
  address: string;
  /** Canonical forms, without the address itself, sorted. */
  aliases: string[];
  /** Bytes; null is unlimited. */
  quotaBytes: number | null;
  deletionPolicy: 'Retain' | 'Delete';
  state: MailboxState;
  /** When the state ends (RFC 3339); null is never. */
  stateUntil: string | null;
  suspendedMail: 'Accept' | 'Refuse';
  /** The declared script with the vacation action in it. */
  sieve: string | null;
  /** By folder, sorted. */
  retention: { folder: string; days: number }[];
  /** By name, sorted. */
  members: MemberRow[];
  require: RequireRow | null;
  sending: SendingRow | null;
}

/**
 * What should be in the directory for a Mailbox, and what is wrong with it. Without `mailbox` nothing is to be
 * changed there: what worked before goes on working.
 */
export function desiredMailbox(
  object: Mailbox,
  context: MailboxContext,
): { mailbox?: DesiredMailbox; problems: Problem[] } {
  const spec = resolved(object);
  if ('problem' in spec) return { problems: [spec.problem] };
  const { address, aliases, quotaBytes, deletionPolicy } = spec.value;
  const system = systemOf(address, object, context);
  if ('problem' in system) return { problems: [system.problem] };

  const checked = aliases.map((alias) => usableAlias(alias, system.value, object, context));
  const usable = checked.flatMap((alias) => ('value' in alias ? [alias.value] : [])).sort();
  return {
    mailbox: {
      system: system.value,
      uuid: uuidOf(object),
      address,
      aliases: usable,
      quotaBytes: quotaBytes ?? null,
      deletionPolicy,
      ...rightsOf(spec.value),
      sieve: declaredScript(spec.value, [address, ...usable]),
    },
    problems: checked.flatMap((alias) => ('problem' in alias ? [alias.problem] : [])),
  };
}

type Rights = Pick<
  DesiredMailbox,
  'state' | 'stateUntil' | 'suspendedMail' | 'retention' | 'members' | 'require' | 'sending'
>;

function rightsOf({
  state,
  stateUntil,
  suspended,
  retention,
  members,
  require,
  sending: { hour, day },
}: MailboxResolved): Rights {
  return {
    state,
    stateUntil: stateUntil === undefined ? null : new Date(stateUntil).toISOString(),
    suspendedMail: suspended.mail,
    retention: sortedBy(retention, ({ folder }) => folder),
    members: sortedBy(members, ({ mailbox }) => mailbox),
    require: require === undefined ? null : { from: [...require.dkimAlignedFrom].sort(), otherwise: require.otherwise },
    sending: hour === undefined && day === undefined ? null : { hour: hour ?? null, day: day ?? null },
  };
}

function sortedBy<T>(items: readonly T[], key: (item: T) => string): T[] {
  return [...items].sort((a, b) => (key(a) < key(b) ? -1 : 1));
}

/** The immutable identity of the stored mail: the object's own uid, or the one that it adopts. */
export function uuidOf(object: Mailbox): string {
  return (object.spec.adopt ?? object.metadata.uid ?? '').toLowerCase();
}

/** Canonical addresses that an object claims, the main one first; an object that doesn't parse claims nothing. */
export function claimedAddresses(object: Mailbox): string[] {
  const spec = resolved(object);
  return 'value' in spec ? [spec.value.address, ...spec.value.aliases] : [];
}

type Result<T> = { value: T } | { problem: Problem };

/** Indexes, hosting and reconciliation all ask for the same: objects in caches never change. */
const resolutions = new WeakMap<Mailbox['spec'], Result<MailboxResolved>>();

/** The spec with its defaults; undefined when it doesn't parse. */
export function resolvedSpec(object: Mailbox): MailboxResolved | undefined {
  const spec = resolved(object);
  return 'value' in spec ? spec.value : undefined;
}

function resolved({ spec }: Mailbox): Result<MailboxResolved> {
  const known = resolutions.get(spec) ?? resolve(spec);
  resolutions.set(spec, known);
  return known;
}

function resolve(spec: Mailbox['spec']): Result<MailboxResolved> {
  try {
    return { value: resolveMailbox(spec) };
  } catch (error) {
    return { problem: { reason: 'InvalidSpec', message: (error as Error).message } };
  }
}

function systemOf(address: string, object: Mailbox, context: MailboxContext): Result<string> {
  const domain = domainPart(address);
  const hosting = context.domain(domain);
  if (hosting === undefined) {
    const message = `No MailDomain in namespace ${object.metadata.namespace ?? ''} has domain ${domain}, which ${address} needs. Create one, or correct the address.`;
    return { problem: { reason: 'DomainNotFound', message } };
  }
  if (hosting.system === undefined) {
    const why = hosting.waiting ?? 'its SystemReady condition says why.';
    const message = `MailDomain ${hosting.name} belongs to no MailSystem yet: ${why}`;
    return { problem: { reason: 'SystemNotFound', message } };
  }
  return { value: hosting.system };
}

function usableAlias(address: string, system: string, object: Mailbox, context: MailboxContext): Result<string> {
  const home = systemOf(address, object, context);
  if ('problem' in home) return home;
  if (home.value !== system) {
    const message = `${address} belongs to MailSystem ${home.value}, the mailbox to ${system}: an alias must be in the mailbox's own system.`;
    return { problem: { reason: 'SystemNotFound', message } };
  }
  return { value: address };
}

function domainPart(address: string): string {
  return address.slice(address.lastIndexOf('@') + 1);
}
