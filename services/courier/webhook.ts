import { createHmac } from 'node:crypto';
import http from 'node:http';
import https from 'node:https';
import type { LookupFunction } from 'node:net';
import { type Delivery, deferred, type Outcome } from './delivery.js';
import { type Checked, checkDestination, DestinationRefused, type DestinationRules, hostOf } from './destination.js';
import { outcomeOfStatus } from './outcome.js';
import type { Target, WebhookTarget } from './target.js';

export interface WebhookSecret {
  /** Key of the signature. */
  readonly key?: Buffer | undefined;
  /** Certificate authority to trust instead of the public ones, PEM. */
  readonly ca?: string | undefined;
}

export interface WebhookOptions {
  readonly rules: DestinationRules;
  readonly secret: WebhookSecret;
  readonly attempt: number;
  readonly now?: (() => Date) | undefined;
}

/**
 * POSTs the message as it is (`message/rfc822`) and says what the answer means. Headers: see docs/reference/bots.md.
 * The time limit is for everything from the look-up to the answer's head; redirects are not followed; the answer's body is
 * not read. Never rejects.
 */
export async function postToWebhook(
  delivery: Delivery,
  target: Target & { readonly webhook: WebhookTarget },
  options: WebhookOptions,
): Promise<Outcome> {
  const { webhook } = target;
  const limit = AbortSignal.timeout(webhook.timeoutSeconds * 1_000);
  try {
    const url = new URL(webhook.url);
    const addresses = await before(limit, checkDestination(url, options.rules));
    const headers = webhookHeaders(delivery, target, options);
    return outcomeOfStatus(
      await post({ url, addresses, headers, ca: options.secret.ca, body: delivery.message, signal: limit }),
    );
  } catch (error) {
    return failure(error, limit.aborted ? webhook.timeoutSeconds : undefined);
  }
}

/** The headers of a request. The signature covers id, time and body: `HMAC-SHA256(key, ID.TIMESTAMP.BODY)`. */
export function webhookHeaders(
  delivery: Delivery,
  { rule, address }: Target,
  { secret, attempt, now = () => new Date() }: Pick<WebhookOptions, 'secret' | 'attempt' | 'now'>,
): Record<string, string> {
  const timestamp = String(Math.floor(now().getTime() / 1_000));
  return {
    'content-type': 'message/rfc822',
    'content-length': String(delivery.message.length),
    'user-agent': 'posthorn-courier',
    'x-posthorn-delivery-id': delivery.id,
    'x-posthorn-attempt': String(attempt),
    'x-posthorn-address': headerText(address),
    'x-posthorn-recipient': headerText(delivery.recipient ?? address),
    'x-posthorn-sender': headerText(delivery.sender),
    'x-posthorn-rule': `${rule.namespace}/${rule.name}`,
    'x-posthorn-timestamp': timestamp,
    ...(secret.key === undefined
      ? {}
      : { 'x-posthorn-signature': `sha256=${signature(secret.key, delivery, timestamp)}` }),
  };
}

function signature(key: Buffer, { id, message }: Delivery, timestamp: string): string {
  return createHmac('sha256', key).update(`${id}.${timestamp}.`).update(message).digest('hex');
}

/** UTF-8 octets as Node sends them; nothing that could end a header. */
function headerText(text: string): string {
  return Buffer.from(text.replace(/\p{Cc}/gu, '?'), 'utf8').toString('latin1');
}

interface Request {
  url: URL;
  addresses: Checked[];
  headers: Record<string, string>;
  ca: string | undefined;
  body: Buffer;
  signal: AbortSignal;
}

/** The status of the answer. The connection goes to one of `addresses`, whatever the name says by now. */
function post({ url, addresses, headers, ca, body, signal }: Request): Promise<number> {
  const pinned: LookupFunction = (_host, options, callback) => {
    const [first] = addresses;
    if (options.all === true) callback(null, addresses);
    else callback(null, first?.address ?? '', first?.family ?? 4);
  };
  const options: https.RequestOptions = {
    method: 'POST',
    headers,
    signal,
    agent: false,
    lookup: pinned,
    ...(url.protocol === 'https:'
      ? { rejectUnauthorized: true, minVersion: 'TLSv1.2', ...(ca === undefined ? {} : { ca }) }
      : {}),
  };
  return new Promise((resolve, reject) => {
    const request = (url.protocol === 'https:' ? https : http).request(url, options, (response) => {
      resolve(response.statusCode ?? 0);
      response.on('error', () => undefined);
      // Nothing of the body is wanted.
      request.destroy();
    });
    // Stays after the answer: what comes then changes nothing, but must not end the process.
    request.on('error', reject);
    request.end(body);
  });
}

function failure(error: unknown, timeoutSeconds: number | undefined): Outcome {
  if (timeoutSeconds !== undefined) {
    const message = `the webhook did not answer within ${timeoutSeconds} s`;
    return deferred('4.4.1', message, { stuck: true, problem: { reason: 'WebhookFailed', message } });
  }
  const reason = error instanceof DestinationRefused ? 'WebhookRefused' : 'WebhookFailed';
  const said = error instanceof Error ? error.message : String(error);
  const hint = reason === 'WebhookRefused' ? '; name the host in spec.webhooks.allowHosts of the MailSystem' : '';
  // The sender of a message needs not know how the network looks.
  return deferred('4.4.1', 'the webhook can not be reached', {
    stuck: true,
    problem: { reason, message: `${said}${hint}` },
  });
}

function before<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    promise.then(resolve, reject);
  });
}

/** For logs and events: the URL without its query, which may hold a token. */
export function shownUrl(text: string): string {
  try {
    const url = new URL(text);
    return `${url.protocol}//${hostOf(url)}${url.port === '' ? '' : `:${url.port}`}${url.pathname}`;
  } catch {
    return 'an invalid URL';
  }
}
