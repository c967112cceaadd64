import { bounced, deferred, delivered, type Outcome } from './delivery.js';

/** Exit codes of sysexits.h(3) that mean: this message will never be taken. Each with its status code (RFC 3463). */
const REFUSALS: Readonly<Record<number, { status: string; name: string }>> = {
  64: { status: '5.3.0', name: 'usage' },
  65: { status: '5.6.0', name: 'data' },
  66: { status: '5.3.0', name: 'no input' },
  67: { status: '5.1.1', name: 'no such user' },
  68: { status: '5.1.2', name: 'no such host' },
  77: { status: '5.7.1', name: 'no permission' },
  78: { status: '5.3.5', name: 'configuration' },
};

/**
 * What a command's exit code says: 0 delivered; 64 to 68, 77 and 78 bounced; 75 (EX_TEMPFAIL) and every other deferred. A
 * crash (1, 127, a signal) is deferred too: whoever repairs the program then still gets the mail.
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

/** What a webhook's HTTP status says: 2xx delivered; 4xx bounced, but for 408, 425 and 429; all else deferred. */
export function outcomeOfStatus(status: number): Outcome {
  const text = `the webhook answered HTTP ${status}`;
  if (status >= 200 && status < 300) return delivered(text);
  if ([408, 425, 429].includes(status)) return deferred('4.3.2', text);
  if (status >= 400 && status < 500) return bounced('5.3.0', text);
  const message = status >= 300 && status < 400 ? `${text}: redirects are not followed` : text;
  return deferred('4.3.0', text, { problem: { reason: 'WebhookFailed', message } });
}
