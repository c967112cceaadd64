import { Resolver } from 'node:dns/promises';
import type { MailSystemResolved } from '../../crds/mailsystem.js';
import { iterativeTxt, type TxtAnswer } from '../dns/iterate.js';

export type TxtLookup = (resolver: MailSystemResolved['resolver'], name: string) => Promise<TxtAnswer>;

const TIMEOUT_MS = 3_000;
const TRIES = 2;

/**
 * TXT records of a name, by the way that the mail servers resolve: the forwarders of the MailSystem, else from its root servers
 * on, else as the operator's pod does.
 */
export const lookupTxt: TxtLookup = async ({ forwarders, rootServers }, name) => {
  if (forwarders.length === 0 && rootServers.length > 0) {
    return iterativeTxt(
      rootServers.map(({ address }) => address),
      name,
      { timeoutMs: TIMEOUT_MS, tries: TRIES },
    );
  }
  const resolver = new Resolver({ timeout: TIMEOUT_MS, tries: TRIES });
  if (forwarders.length > 0) resolver.setServers(forwarders.map(serverOf));
  try {
    const records = await resolver.resolveTxt(name);
    return { kind: 'found', values: records.map((strings) => strings.join('')) };
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException;
    return ABSENT.has(code) ? { kind: 'absent' } : { kind: 'failed', message };
  }
};

const ABSENT = new Set(['ENOTFOUND', 'ENODATA']);

/** unbound writes the port behind an @, Node.js behind a colon. */
function serverOf(forwarder: string): string {
  const [address = '', port = '53'] = forwarder.split('@');
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}
