import type { ConditionUpdate } from '../runtime/conditions.js';
import type { DnsRecord } from './records.js';

/** What one reconciliation of a MailDomain has found. */
export interface DomainObservation {
  system: { ok: true; name: string } | { ok: false; reason: string; message: string };
  dkim: { ok: true; selector: string } | { ok: false; reason: string; message: string };
  directory: { ok: true } | { ok: false; reason: string; message: string };
  /** Only of a domain that a MailSystem of another namespace serves. */
  ownership?: { ok: boolean; reason: string; message: string };
  records: readonly DnsRecord[];
  /** Mailboxes and ForwardRules with an address in it. */
  mailboxes: number;
  deleting: boolean;
}

/** Conditions and detail of a MailDomain. Pure. */
export function domainStatus(observation: DomainObservation): { conditions: ConditionUpdate[]; detail: string } {
  const { system, dkim, directory, ownership, records, mailboxes, deleting } = observation;
  const parts: ConditionUpdate[] = [
    verdict(
      'SystemReady',
      system.ok ? { reason: 'Found', message: `Served by MailSystem ${system.name}.` } : system,
      system.ok,
    ),
    verdict(
      'DKIMReady',
      dkim.ok ? { reason: 'KeyLoaded', message: `Outgoing mail is signed with selector ${dkim.selector}.` } : dkim,
      dkim.ok,
    ),
    verdict(
      'Provisioned',
      directory.ok ? { reason: 'Provisioned', message: 'The mx accepts mail for the domain.' } : directory,
      directory.ok,
    ),
  ];
  const bad = parts.find((part) => part.status !== 'True');
  const ready: ConditionUpdate =
    bad === undefined
      ? {
          type: 'Ready',
          status: 'True',
          reason: 'Working',
          message: `Enter the ${records.length} records in status.records in the DNS, if they are not there.`,
        }
      : { ...bad, type: 'Ready' };
  // Not part of Ready: a proof that was seen once and is missing now keeps no mail back.
  const proof = ownership === undefined ? [] : [verdict('OwnershipVerified', ownership, ownership.ok)];
  const conditions = [ready, ...parts, ...proof, ...(deleting ? [inUse(mailboxes)] : [])];
  return { conditions, detail: detailOf(observation, bad) };
}

function inUse(mailboxes: number): ConditionUpdate {
  return {
    type: 'Deleting',
    status: 'False',
    reason: 'InUse',
    message: `The domain is to be deleted, but ${mailboxes} Mailboxes and ForwardRules have addresses in it and go on working: delete them first.`,
  };
}

function verdict(type: string, { reason, message }: { reason: string; message: string }, ok: boolean): ConditionUpdate {
  return { type, status: ok ? 'True' : 'False', reason, message };
}

function detailOf(
  { mailboxes, records, deleting, system }: DomainObservation,
  bad: ConditionUpdate | undefined,
): string {
  if (deleting) return `Deletion waits for ${mailboxes} Mailboxes and ForwardRules`;
  if (bad !== undefined) return `${bad.reason}: ${bad.message}`.slice(0, 200);
  return `Served by ${system.ok ? system.name : 'no system'}; ${records.length} DNS records in status.records`;
}
