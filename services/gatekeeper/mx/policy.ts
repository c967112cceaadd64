/** The mx's answers at RCPT. */
import { recent } from '../../lib/recent.js';
import type { Action, PolicyRequest } from '../policy/protocol.js';
import type { Lookup, Recipient } from './recipients.js';

const NO_ADDRESS = '554 5.1.3 this is no address: write local@domain';
const OTHER_POLICY = '452 4.5.3 this recipient is filtered by other rules: send it another copy of the message';

/**
 * What to say of a recipient when the transaction already has recipients of `first` (undefined: it is the first). The
 * directory's DUNNO ("nothing against it") is all the permission there is, hence OK. One message is filtered once, so a
 * recipient with another policy has to come in a transaction of its own: senders retry what gets 452 at once, as they
 * do when there are too many recipients (RFC 5321, 4.5.3.1.10).
 */
export function judgeRecipient({ verdict, policy_key }: Recipient, first: string | undefined): Action {
  if (verdict === null) return NO_ADDRESS;
  if (verdict !== 'DUNNO') return verdict;
  return first === undefined || first === policy_key ? 'OK' : OTHER_POLICY;
}

/** Longer than a transaction with many recipients takes; `instance` is never used twice. */
const TRANSACTION_MS = 3_600_000;
const MOST_TRANSACTIONS = 20_000;

/** Decides about requests of the mx's smtpd, which asks at RCPT only. */
export function mxPolicy(lookup: Lookup): (request: PolicyRequest) => Promise<Action> {
  const transactions = recent<string>(MOST_TRANSACTIONS, TRANSACTION_MS);
  return async (request) => {
    if (request.get('protocol_state') !== 'RCPT') return 'DUNNO';
    const address = request.get('recipient') ?? '';
    if (!/.@./.test(address)) return NO_ADDRESS;
    // Postfix makes a new one at each MAIL.
    const instance = request.get('instance') ?? '';
    const recipient = await lookup(address);
    const action = judgeRecipient(recipient, transactions.get(instance));
    if (action === 'OK') transactions.set(instance, recipient.policy_key);
    return action;
  };
}
