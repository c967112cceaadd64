/** A sender of the outside world whose domain has SPF, DKIM and a strict DMARC policy. Its mail server is the sink. */
import { generateKeyPairSync, type KeyObject, randomUUID } from 'node:crypto';
import { createTransport } from 'nodemailer';
import { setRecords } from './outside.js';
import { send, type Target } from './smtp.js';

/** Another one in each run: runs beside each other must not take each other's keys. */
export const senderDomain = `sender-${randomUUID().slice(0, 6)}.example`;
const SELECTOR = 'e2e';

export interface Signer {
  key: KeyObject;
  domain: string;
}

/** Publishes a domain; what it sends comes from `client.outside.example`, which are the tests. */
export async function publishSender(domain = senderDomain, policy = 'reject'): Promise<Signer> {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const p = publicKey.export({ type: 'spki', format: 'der' }).toString('base64');
  const txt = `v=DKIM1; k=rsa; p=${p}`.match(/.{1,250}/g) ?? [];
  await setRecords([
    { name: domain, type: 'TXT', value: '"v=spf1 a:client.outside.example -all"' },
    { name: domain, type: 'MX', value: '10 mx.outside.example.' },
    { name: `_dmarc.${domain}`, type: 'TXT', value: `"v=DMARC1; p=${policy}"` },
    { name: `${SELECTOR}._domainkey.${domain}`, type: 'TXT', value: txt.map((part) => `"${part}"`).join(' ') },
  ]);
  return { key: privateKey, domain };
}

export interface Composed {
  from: string;
  to: string;
  subject?: string;
  text?: string;
  messageId?: string;
  headers?: Record<string, string>;
  /** From in the header; default: the envelope's. */
  author?: string;
}

/** A message as text, signed if a signer is given. */
export async function compose({ from, author = from, ...mail }: Composed, signer?: Signer): Promise<string> {
  const transport = createTransport({ streamTransport: true, buffer: true, newline: 'windows' });
  const messageId = mail.messageId ?? `<${randomUUID()}@${senderDomain}>`;
  const { message } = await transport.sendMail({
    subject: 'hello',
    text: 'hello',
    ...mail,
    from: author,
    messageId,
    ...(signer === undefined
      ? {}
      : {
          dkim: {
            domainName: signer.domain,
            keySelector: SELECTOR,
            privateKey: signer.key.export({ type: 'pkcs8', format: 'pem' }) as string,
          },
        }),
  });
  return message.toString();
}

/** Composes and sends to one recipient. @returns what was sent */
export async function sendFrom(target: Target, mail: Composed, signer?: Signer): Promise<string> {
  const raw = await compose(mail, signer);
  await send(target, { from: mail.from, to: mail.to, raw });
  return raw;
}
