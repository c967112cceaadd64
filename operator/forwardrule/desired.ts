import type { ForwardRule, ForwardRuleResolved } from '../../crds/forwardrule.js';
import type { RequireRow } from '../directory/rows.js';
import { botTargets } from './bots.js';
import { chainText, followChains, MAX_CHAIN } from './chain.js';
import type { ForwardContext, Problem, Targets } from './context.js';
import { type DesiredForward, targetCount } from './forward.js';
import { baseOf, consents, domainPart, type Landscape, resolved, type Source, type TargetFault } from './landscape.js';
import { circularTargets } from './live.js';
import { missingRequirement, requiredByForward, requiredByMailbox, requireRow } from './requirements.js';

export interface Desired {
  /** `namespace/name` of the MailSystem; absent when there is none. */
  system?: string;
  /**
   * Absent: nothing is to be changed in the directory, what worked before goes on working. `'none'`: not one target is
   * possible, so the address must not be taken.
   */
  forward?: DesiredForward | 'none';
  problems: Problem[];
}

/** What should be in the directory for a ForwardRule, and what is wrong with it. Pure. */
export function desiredForward(object: ForwardRule, context: ForwardContext): Desired {
  const spec = resolved(object);
  if ('message' in spec) return { problems: [{ reason: 'InvalidSpec', message: spec.message }] };
  const home = systemOf(object, spec.value, context.landscape);
  if (typeof home !== 'string') return { problems: [home] };
  const loop = chainProblem(object, spec.value, home, context.landscape);
  if (loop !== undefined) return { ...heldBack(object, home, context), problems: [loop] };

  const { namespace = '' } = object.metadata;
  const source = { namespace, required: context.landscape.required(object, spec.value) };
  const to = addressTargets(spec.value, home, source, context.landscape);
  const bots = botTargets(object, spec.value, home, context);
  const mailboxes = mailboxProblems(spec.value, home, source, context.landscape);
  const problems = [...to.problems, ...bots.problems, ...mailboxes];
  if (targetCount({ to: to.targets, couriers: bots.targets }) === 0) return { system: home, forward: 'none', problems };
  const { address, keepCopy, sendAs } = spec.value;
  const forward: DesiredForward = {
    address,
    to: to.targets,
    couriers: bots.targets,
    keepCopy: copyFor(keepCopy?.mailbox ?? null, source, context.landscape),
    sendAs: sendAs?.mailbox ?? null,
    require: requireRow(spec.value),
  };
  return { system: home, forward, problems };
}

function systemOf(
  object: ForwardRule,
  { address, domain }: ForwardRuleResolved,
  landscape: Landscape,
): string | Problem {
  const { namespace = '' } = object.metadata;
  const hosting = landscape.domain(namespace, domain);
  if (hosting === undefined) {
    const message = `No MailDomain in namespace ${namespace} has domain ${domain}, which ${address} needs. Create one, or correct the address.`;
    return { reason: 'DomainNotFound', message };
  }
  if (hosting.system === undefined) {
    const message = `MailDomain ${hosting.name} belongs to no MailSystem yet: ${hosting.waiting ?? 'its SystemReady condition says why.'}`;
    return { reason: 'SystemNotFound', message };
  }
  return hosting.system;
}

/**
 * What is live stays, but for targets that lead back to the rule (a Mailbox may have ended that chain, and be gone), and for
 * those that may no longer get its mail.
 */
function heldBack(object: ForwardRule, system: string, { live, landscape }: ForwardContext): Omit<Desired, 'problems'> {
  const forward = live.get(object.metadata.uid ?? '');
  if (forward === undefined) return { system };
  const { namespace = '' } = object.metadata;
  const keeper = forward.keepCopy === null ? undefined : landscape.mailbox(namespace, forward.keepCopy);
  const source = { namespace, required: requiredByForward(forward, keeper) };
  const circular = circularTargets(forward, system, live, landscape);
  const to = forward.to.filter((target) => !circular.includes(target) && mayStay(target, system, source, landscape));
  const keepCopy = copyFor(forward.keepCopy, source, landscape);
  if (to.length === forward.to.length && keepCopy === forward.keepCopy) return { system };
  const mended = { ...forward, to, keepCopy };
  return { system, forward: targetCount(mended) === 0 ? 'none' : mended };
}

/** A target that nobody has gets no mail anyway, and may come back. */
function mayStay(target: string, system: string, source: Source, landscape: Landscape): boolean {
  const fault = landscape.fault(system, source, target);
  return fault === undefined || fault.reason === 'TargetNotFound';
}

/** The Mailbox that keeps a copy; none if it asks more of senders than has been asked. */
function copyFor(name: string | null, { namespace, required }: Source, landscape: Landscape): string | null {
  const box = name === null ? undefined : landscape.mailbox(namespace, name);
  return missingRequirement(required, requiredByMailbox(box)) === undefined ? name : null;
}

/** A rule that doesn't have its address is refused for that; where it would lead is no matter then. */
function chainProblem(
  object: ForwardRule,
  { address }: ForwardRuleResolved,
  system: string,
  landscape: Landscape,
): Problem | undefined {
  const owner = landscape.owner(system, address);
  if (owner !== undefined && owner.object.metadata.uid !== object.metadata.uid) return undefined;
  const next = (forward: string): string[] => {
    const at = landscape.owner(system, forward);
    return at?.kind === 'forward' ? forwardsBehind(at.object, system, landscape) : [];
  };
  const { loop, length } = followChains(address, next);
  if (loop !== undefined) {
    const what = loop.length === 2 ? 'The rule forwards to itself' : 'Mail would go in a circle';
    const message = `${what}: ${chainText(loop)}. Remove one of these targets. Until then the rule stays as it was before, or without effect if it is new.`;
    return { reason: 'LoopDetected', message };
  }
  if (length <= MAX_CHAIN) return undefined;
  const message = `${length} forwards follow each other from ${address} on, and at most ${MAX_CHAIN} may: let some of them lead to the last one directly.`;
  return { reason: 'ChainTooLong', message };
}

/** Addresses of the rules that get mail by a rule. */
function forwardsBehind(rule: ForwardRule, system: string, landscape: Landscape): string[] {
  const spec = resolved(rule);
  if ('message' in spec) return [];
  return spec.value.to.flatMap((target) => {
    const address = baseOf(target);
    const host = landscape.host(system, domainPart(address));
    if (host === undefined || !consents(host, rule.metadata.namespace ?? '')) return [];
    const receiver = landscape.receiver(system, address);
    const behind = receiver?.kind === 'forward' ? resolved(receiver.object) : undefined;
    return behind !== undefined && 'value' in behind ? [behind.value.address] : [];
  });
}

function addressTargets(
  { to }: ForwardRuleResolved,
  system: string,
  source: Source,
  landscape: Landscape,
): Targets<string> {
  const found: Targets<string> = { targets: [], problems: [] };
  for (const target of to) {
    const fault = landscape.fault(system, source, target);
    if (fault === undefined) found.targets.push(target);
    else found.problems.push({ reason: fault.reason, message: faultText(target, source, fault) });
  }
  return found;
}

function faultText(target: string, { namespace }: Source, fault: TargetFault): string {
  const domain = domainPart(baseOf(target));
  const say: Record<TargetFault['reason'], string> = {
    TargetNotAllowed: `${target} is in a domain that only means something inside a cluster or a network, and no MailDomain of this MailSystem is for it: name an address that the Internet knows.`,
    ConsentMissing: `${target} is in a domain of another namespace, which does not take forwards from ${namespace}: ask for ${namespace} in spec.acceptForwardsFrom of the MailDomain ${domain}.`,
    TargetNotFound: `Nobody takes mail for ${target}: create a Mailbox or ForwardRule for it, or correct it.`,
    RequirementMissing: 'wanted' in fault ? requirementText(target, fault.wanted) : '',
  };
  return `${say[fault.reason]} Until then this target gets no mail.`;
}

function requirementText(who: string, { from, otherwise }: RequireRow): string {
  if (from.length === 0) return `${who} has a spec.require that can not be understood: correct it there.`;
  const wanted = `{dkimAlignedFrom: [${from.join(', ')}], otherwise: ${otherwise}}`;
  return `${who} takes mail only from senders that have proved who they are, and by this rule others would come in: set spec.require of the rule to ${wanted}, or to fewer of these domains.`;
}

function mailboxProblems(
  spec: ForwardRuleResolved,
  system: string,
  { namespace, required }: Source,
  landscape: Landscape,
): Problem[] {
  const effects = {
    keepCopy: 'no copy is kept',
    sendAs: `nobody may send as ${spec.address}`,
  };
  return (['keepCopy', 'sendAs'] as const).flatMap((field): Problem[] => {
    const name = spec[field]?.mailbox;
    if (name === undefined) return [];
    if (!isMailboxOf(landscape, namespace, name, system)) {
      const message = `There is no Mailbox ${name} of this MailSystem in namespace ${namespace}, which spec.${field} names: create it, or correct the name. Until then ${effects[field]}.`;
      return [{ reason: 'MailboxNotFound', message }];
    }
    const wanted = missingRequirement(required, requiredByMailbox(landscape.mailbox(namespace, name)));
    if (field === 'sendAs' || wanted === undefined) return [];
    const message = `${requirementText(`Mailbox ${name}`, wanted)} Until then ${effects[field]}.`;
    return [{ reason: 'RequirementMissing', message }];
  });
}

function isMailboxOf(landscape: Landscape, namespace: string, name: string, system: string): boolean {
  const address = landscape.mailbox(namespace, name)?.spec.address;
  if (address === undefined) return false;
  try {
    return landscape.domain(namespace, domainPart(baseOf(address)))?.system === system;
  } catch {
    return false;
  }
}
