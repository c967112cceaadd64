import { generateKeyPairSync } from 'node:crypto';
import { dkimSign } from 'mailauth/lib/dkim/sign.js';

export const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
export const ed25519 = generateKeyPairSync('ed25519');

export const pem = (key: typeof rsa.privateKey): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();

/** The TXT record of a key. */
export const record = (key: typeof rsa.publicKey): string =>
  `v=DKIM1; k=rsa; p=${key.export({ type: 'spki', format: 'der' }).toString('base64')}`;

let counter = 0;

/** A message with the headers that every proper one has; `null` leaves one out. */
export function message(
  headers: Readonly<Record<string, string | null>> = {},
  body = 'Dear friend,\r\n\r\nsee you at ten.\r\n',
): string {
  const all = {
    From: 'Someone <someone@outside.test>',
    To: 'Alice <alice@example.org>',
    Subject: 'A letter',
    Date: new Date().toUTCString().replace('GMT', '+0000'),
    'Message-ID': `<${counter++}.${Date.now()}@outside.test>`,
    'MIME-Version': '1.0',
    'Content-Type': 'text/plain; charset=utf-8',
    ...headers,
  };
  const lines = Object.entries(all).flatMap(([name, value]) => (value === null ? [] : [`${name}: ${value}`]));
  return [...lines, '', body].join('\r\n');
}

/** Signs with the key `s1` of a domain. `maxBodyLength`: with l=. */
export async function signed(raw: string, domain: string, options: { maxBodyLength?: number } = {}): Promise<string> {
  const { signatures, errors } = await dkimSign(Buffer.from(raw, 'latin1'), {
    canonicalization: 'relaxed/relaxed',
    signTime: new Date(),
    signatureData: [{ signingDomain: domain, selector: 's1', privateKey: pem(rsa.privateKey), ...options }],
  } as never);
  if (errors.length > 0) throw errors[0];
  return `${signatures.replaceAll(/\r?\n/g, '\r\n')}${raw}`;
}
