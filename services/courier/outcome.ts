import { bounced, deferred, delivered, type Outcome } from './delivery.js';

/** Exit codes of sysexits.h(3) that are about the message or its people: it will never be taken. With its status (RFC 3463). */
const REFUSALS: Readonly<Record<number, { status: string; name: string }>> = {
  65: { status: '5.6.0', name: 'data' },
  67: { status: '5.1.1', name: 'no such user' },
  68: { status: '5.1.2', name: 'no such host' },
  77: { status: '5.7.1', name: 'no permission' },
};

/** The answers of HTTP that are about the message: it will never be taken. With its status (RFC 3463). */
const REFUSED: Readonly<Record<number, string>> = {
  400: '5.6.0',
  410: '5.1.1',
  413: '5.3.4',
  415: '5.6.1',
  422: '5.6.0',
};

/** Answers by which a program that works says: later. No reason to call somebody. */
const LATER = [408, 425, 429];

/**
 * What a command's exit code says: 0 delivered; 65, 67, 68 and 77 bounced; 75 (EX_TEMPFAIL) and every other deferred. How the
 * program was deployed (64, 66, 78, 126, 127), a crash or a signal is not the message's fault: whoever repairs it then still
 * gets the mail.
 *
 * @param said One line that the command wrote to `$POSTHORN_REPLY`; goes to the sender with a bounce.
 */
export function outcomeOfExit(code: number, said = ''): Outcome {
  if (code === 0) return delivered('the command took the message');
  const refusal = REFUSALS[code];
  if (refusal !== undefined) return bounced(refusal.status, said === '' ? `refused: ${refusal.name}` : said);
  const text = `the command ended with exit code ${code}`;
  if (code === 75) return deferred('4.3.0', said === '' ? text : said);
  return deferred('4.3.0', text, { problem: { reason: 'CommandFailed', message: `${text}: see its log` } });
}

/**
 * What a webhook's HTTP status says: 2xx delivered; 400, 410, 413, 415 and 422 bounced; all else deferred. That nobody may ask
 * (401, 403, 407) or that there is nothing at the URL (404, 405) is not the message's fault.
 */
export function outcomeOfStatus(status: number): Outcome {
  const text = `the webhook answered HTTP ${status}`;
  if (status >= 200 && status < 300) return delivered(text);
  const refusal = REFUSED[status];
  if (refusal !== undefined) return bounced(refusal, text);
  if (LATER.includes(status)) return deferred('4.3.2', text);
  const message = status >= 300 && status < 400 ? `${text}: redirects are not followed` : text;
  return deferred('4.3.0', text, { problem: { reason: 'WebhookFailed', message } });
}
