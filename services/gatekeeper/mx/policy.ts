/** The mx's answers at RCPT. */
import { recent } from '../../lib/recent.js';
import type { Action, PolicyRequest } from '../policy/protocol.js';
import type { Lookup, Recipient } from './recipients.js';
import type { CountReport } from './reports.js';

const NO_ADDRESS = '554 5.1.3 this is no address: write local@domain';
const OTHER_POLICY = '452 4.5.3 this recipient is filtered by other rules: send it another copy of the message';
const REPORTS_ONLY = '550 5.7.1 only delivery reports go to this address, and their sender is <>';
const ENOUGH_REPORTS = '450 4.7.1 enough reports have gone to this address within a day, try again later';

/**
 * What to say of a recipient when the transaction already has recipients of `first` (undefined: it is the first). The
 * directory's DUNNO ("nothing against it") is all the permission there is, hence OK. One message is filtered once, so a
 * recipient with another policy has to come in a transaction of its own: senders retry what gets 452 at once, as they
 * do when there are too many recipients (RFC 5321, 4.5.3.1.10). `sender` is empty for the null sender, which all reports
 * have (RFC 5321, 4.5.5): an SRS address takes nothing else.
 */
export function judgeRecipient(
  { verdict, kind, policy_key }: Recipient,
  sender: string,
  first: string | undefined,
): Action {
  if (verdict === null) return NO_ADDRESS;
  if (verdict !== 'DUNNO') return verdict;
  if (kind === 'srs' && sender !== '') return REPORTS_ONLY;
  return first === undefined || first === policy_key ? 'OK' : OTHER_POLICY;
}

/** Longer than a transaction with many recipients takes; `instance` is never used twice. */
const TRANSACTION_MS = 3_600_000;
const MOST_TRANSACTIONS = 20_000;

/** Decides about requests of the mx's smtpd, which asks at RCPT only. */
export function mxPolicy(lookup: Lookup, countReport: CountReport): (request: PolicyRequest) => Promise<Action> {
  const transactions = recent<string>(MOST_TRANSACTIONS, TRANSACTION_MS);
  return async (request) => {
    const said = (name: string): string => request.get(name) ?? '';
    if (said('protocol_state') !== 'RCPT') return 'DUNNO';
    const address = said('recipient');
    if (!/.@./.test(address)) return NO_ADDRESS;
    // Postfix makes a new one at each MAIL.
    const instance = said('instance');
    const recipient = await lookup(address);
    const action = judgeRecipient(recipient, said('sender'), transactions.get(instance));
    if (action !== 'OK') return action;
    if (!(await hasRoom(countReport, recipient))) return ENOUGH_REPORTS;
    transactions.set(instance, recipient.policy_key);
    return action;
  };
}

async function hasRoom(countReport: CountReport, { kind, canonical }: Recipient): Promise<boolean> {
  return kind !== 'srs' || countReport(canonical ?? '');
}
