import { Resolver } from 'node:dns/promises';
import { authenticate } from 'mailauth';
import type { Judgement, Received } from './mailserver.js';

export interface JudgeOptions {
  name: string;
  nameServer?: string | undefined;
  /** Domains whose ARC seals are believed. */
  trustedSealers: ReadonlySet<string>;
}

/** What a message is judged by. */
export interface Verdicts {
  spf: { result: string; domain: string };
  dkim: { result: string; domain: string; aligned: boolean }[];
  dmarc: { result: string; policy: string };
  arc: {
    result: string;
    /** Domains of the seals, first to last. */
    sealers: string[];
    /** What the first seal says of DMARC when its sealer received the message. */
    dmarc: string;
    trusted: boolean;
  };
}

/**
 * Judges as large providers do: somebody must vouch for a message (SPF of the envelope sender, or DKIM); and a message that
 * fails the DMARC policy (reject or quarantine) of its From domain is refused, unless a trusted server has sealed by a valid
 * ARC chain that it passed there.
 */
export function createJudge({
  name,
  nameServer,
  trustedSealers,
}: JudgeOptions): (message: Received) => Promise<Judgement> {
  const resolver = new Resolver({ timeout: 3_000, tries: 3 });
  if (nameServer !== undefined) resolver.setServers([nameServer]);
  return async (message) => {
    const raw = Buffer.from(message.raw, 'base64');
    const found = await authenticate(raw, {
      ip: message.client.replace(/^::ffff:/, ''),
      helo: message.helo,
      sender: message.from,
      mta: name,
      disableBimi: true,
      resolver: (domain, type) => resolver.resolve(domain, type) as never,
    });
    return judge(verdictsOf(found as never, sealsOf(raw), trustedSealers));
  };
}

/** The decision alone. */
export function judge(verdicts: Verdicts): Judgement {
  const { spf, dkim, dmarc, arc } = verdicts;
  if ([spf.result, dmarc.result, ...dkim.map(({ result }) => result)].includes('temperror')) {
    return { verdicts, refusal: '4.7.24 can not tell now: DNS does not answer' };
  }
  const sealed = arc.result === 'pass' && arc.trusted && arc.dmarc === 'pass';
  if (spf.result !== 'pass' && !dkim.some(({ result }) => result === 'pass')) {
    const text = `5.7.26 unauthenticated: SPF of ${spf.domain} is ${spf.result}, and no DKIM signature is valid`;
    return { verdicts, refusal: text };
  }
  if (dmarc.result === 'fail' && ['reject', 'quarantine'].includes(dmarc.policy) && !sealed) {
    return { verdicts, refusal: `5.7.26 DMARC policy ${dmarc.policy} of the From domain; ARC ${arc.result}` };
  }
  return { verdicts };
}

interface Found {
  spf: { status: { result: string }; domain: string };
  dkim: { results: { status: { result: string; aligned?: string | false }; signingDomain: string }[] };
  dmarc?: { status: { result: string }; policy?: string };
  arc?: { status: { result: string } };
}

function verdictsOf(found: Found, seals: { sealers: string[]; dmarc: string }, trusted: ReadonlySet<string>): Verdicts {
  return {
    spf: { result: found.spf.status.result, domain: found.spf.domain },
    dkim: found.dkim.results.map(({ status, signingDomain }) => ({
      result: status.result,
      domain: signingDomain,
      aligned: Boolean(status.aligned),
    })),
    dmarc: { result: found.dmarc?.status.result ?? 'none', policy: found.dmarc?.policy ?? 'none' },
    arc: {
      result: found.arc?.status.result ?? 'none',
      ...seals,
      trusted: seals.sealers.length > 0 && seals.sealers.every((sealer) => trusted.has(sealer)),
    },
  };
}

/** Who sealed, and what the first of them saw. Only worth something when the chain is valid. */
export function sealsOf(raw: Buffer): { sealers: string[]; dmarc: string } {
  const header = (raw.toString('latin1').split(/\r?\n\r?\n/)[0] ?? '').replace(/\r?\n[ \t]+/g, ' ');
  const fields = [...header.matchAll(/^(arc-seal|arc-authentication-results):(.*)$/gim)].map((match) => ({
    name: (match[1] ?? '').toLowerCase(),
    instance: Number(/\bi=(\d+)/.exec(match[2] ?? '')?.[1] ?? 0),
    text: match[2] ?? '',
  }));
  const sealers = fields
    .filter(({ name }) => name === 'arc-seal')
    .sort((a, b) => a.instance - b.instance)
    .map(({ text }) => /\bd=([^;\s]+)/.exec(text)?.[1]?.toLowerCase() ?? '');
  const first = fields.find(({ name, instance }) => name === 'arc-authentication-results' && instance === 1);
  return { sealers, dmarc: /\bdmarc=(\w+)/.exec(first?.text ?? '')?.[1] ?? 'none' };
}
