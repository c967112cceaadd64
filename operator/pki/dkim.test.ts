import { generateKeyPairSync } from 'node:crypto';
import { dkimSign } from 'mailauth/lib/dkim/sign.js';
import { dkimVerify } from 'mailauth/lib/dkim/verify.js';
import { describe, expect, it } from 'vitest';
import { dkimRecord, generateDkimKey } from './dkim.js';

const MESSAGE =
  'From: a@example.org\r\nTo: b@example.com\r\nSubject: x\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\n\r\nhello\r\n';

describe.each(['rsa-2048', 'ed25519'] as const)('%s', (algorithm) => {
  it('signs, and the record verifies the signature', async () => {
    const { privateKey, record } = await generateDkimKey(algorithm);
    const signer = { signingDomain: 'example.org', selector: 's1', privateKey };
    const { signatures } = await dkimSign(MESSAGE, {
      canonicalization: 'relaxed/relaxed',
      ...signer,
      signatureData: [signer],
    });
    const verdict = async (txt: string) => {
      const resolver = async (name: string) => {
        expect(name).toBe('s1._domainkey.example.org');
        return [[txt]];
      };
      const { results } = await dkimVerify(signatures + MESSAGE, { resolver });
      return results[0]?.status.result;
    };
    expect(await verdict(record)).toBe('pass');
    expect(await verdict((await generateDkimKey(algorithm)).record)).toBe('fail');
  });

  it('gives a PKCS 8 key, whose record can be told again', async () => {
    const { privateKey, record } = await generateDkimKey(algorithm);
    expect(privateKey).toMatch(/^-----BEGIN PRIVATE KEY-----\n/);
    expect(dkimRecord(privateKey)).toBe(record);
    expect(record).toMatch(
      algorithm === 'ed25519' ? /^v=DKIM1; k=ed25519; p=[\w+/]{43}=$/ : /^v=DKIM1; k=rsa; p=MII[\w+/=]{389}$/,
    );
  });
});

it('refuses keys that DKIM does not know', () => {
  const pem = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' });
  expect(() => dkimRecord(pem.toString())).toThrow(/RSA or Ed25519, not ec/);
  expect(() => dkimRecord('garbage')).toThrow();
});
