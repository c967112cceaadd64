/** Whose domain it is: a MailSystem serves domains of other namespaces only after their owner has said so in the DNS. Pure. */
import { createHash } from 'node:crypto';
import type { MailDomain } from '../../crds/maildomain.js';
import { type DnsRecord, quoted } from './records.js';

const PREFIX = 'posthorn-domain-verification=';

/** Owner name of the record that proves it. */
export function challengeName(domain: string): string {
  return `_posthorn-challenge.${domain}`;
}

/**
 * Value of that record. It is no secret: it names this one MailDomain, by the uid that the API server has chosen, so a record
 * for it says nothing for any other object.
 */
export function challengeValue(uid: string, domain: string): string {
  return PREFIX + createHash('sha256').update(`posthorn-challenge ${uid} ${domain}`).digest('base64url');
}

/** The record to enter. */
export function challengeRecord(uid: string, domain: string): DnsRecord {
  return {
    name: challengeName(domain),
    type: 'TXT',
    value: quoted(challengeValue(uid, domain)),
    purpose: 'proof that the domain is yours; leave it there',
  };
}

/** When the ownership was verified (RFC 3339); undefined: not yet, or for another object. */
export function verifiedAt({ metadata, status }: MailDomain, domain: string): string | undefined {
  const ownership = status?.ownership;
  return ownership?.challenge === challengeValue(metadata.uid ?? '', domain) ? ownership.verifiedAt : undefined;
}
