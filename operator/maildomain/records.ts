/** The DNS records of a hosted domain, as an administrator would enter them. Pure. */

export interface DnsRecord {
  /** Owner name without a dot at the end. */
  name: string;
  type: 'MX' | 'TXT';
  /** Data as in a zone file; TXT data is one or more quoted strings of at most 255 octets. */
  value: string;
  purpose: string;
}

export interface DomainFacts {
  /** A-labels, lower case. */
  domain: string;
  /** Public name of the mx. */
  hostname: string;
  dkim?: { selector: string; record: string } | undefined;
  /** Gets DMARC's aggregate reports. */
  postmaster?: string | undefined;
}

/**
 * MX (RFC 5321, 5), SPF (RFC 7208), DKIM (RFC 6376) and DMARC (RFC 7489) records that the domain should have. SPF is to be
 * aligned strictly: forwarded mail of strangers leaves with a sender in the SRS domain, which shares the organisational domain
 * of `hostname`. Relaxed, a From in that domain would pass by it.
 */
export function expectedRecords({ domain, hostname, dkim, postmaster }: DomainFacts): DnsRecord[] {
  const reports = postmaster === undefined ? '' : `; rua=mailto:${postmaster}`;
  return [
    { name: domain, type: 'MX', value: `10 ${hostname}.`, purpose: 'where mail for the domain is delivered' },
    {
      name: domain,
      type: 'TXT',
      value: quoted(`v=spf1 a:${hostname} mx -all`),
      purpose: 'SPF: which hosts send for the domain',
    },
    ...(dkim === undefined
      ? []
      : [
          {
            name: `${dkim.selector}._domainkey.${domain}`,
            type: 'TXT' as const,
            value: quoted(dkim.record),
            purpose: 'DKIM: the key that outgoing mail is signed with',
          },
        ]),
    {
      name: `_dmarc.${domain}`,
      type: 'TXT',
      value: quoted(`v=DMARC1; p=none; aspf=s${reports}`),
      purpose: 'DMARC: what receivers do with mail that fails SPF and DKIM',
    },
  ];
}

/** A TXT value in zone-file syntax: strings of at most 255 octets (RFC 1035, 3.3.14), quotes and backslashes escaped. */
export function quoted(text: string): string {
  const parts = text.match(/.{1,255}/gs) ?? [''];
  return parts.map((part) => `"${part.replace(/["\\]/g, '\\$&')}"`).join(' ');
}
