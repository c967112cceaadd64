import { describe, expect, it } from 'vitest';
import { type DkimKey, dkimLabel, dkimSecret, dkimSecretName, readDkimSecret, type Secret } from './secret.js';

const key: DkimKey = {
  domain: 'example.org',
  selector: 's1',
  algorithm: 'ed25519',
  privateKey: '-----BEGIN PRIVATE KEY-----\n',
  record: 'v=DKIM1; k=ed25519; p=abc',
};

/** As the API server stores it. */
function stored({ stringData, ...secret }: ReturnType<typeof dkimSecret>): Secret & { data: Record<string, string> } {
  const data = Object.entries(stringData).map(([name, value]) => [name, Buffer.from(value).toString('base64')]);
  return { ...secret, data: Object.fromEntries(data) };
}

describe('the Secret of a DKIM key', () => {
  it('gives back what was put in, is found by its label, and belongs to nobody', () => {
    const secret = stored(dkimSecret('mail', key));
    expect(readDkimSecret(secret)).toEqual(key);
    expect(secret.metadata.labels?.[dkimLabel]).toBe('true');
    expect(secret.metadata.ownerReferences).toBeUndefined();
  });

  it.each(['domain', 'selector', 'algorithm', 'private.pem', 'record.txt'])(
    'names %s when it is missing or empty',
    (field) => {
      const secret = stored(dkimSecret('mail', key));
      expect(() => readDkimSecret({ ...secret, data: { ...secret.data, [field]: '' } })).toThrow(`no ${field}`);
      delete secret.data[field];
      expect(() => readDkimSecret(secret)).toThrow(`no ${field}`);
    },
  );

  it('refuses an unknown algorithm without showing the key', () => {
    const secret = stored(dkimSecret('mail', { ...key, algorithm: 'rot13' as 'ed25519' }));
    expect(() => readDkimSecret(secret)).toThrow(/unknown algorithm rot13$/);
  });

  it('has a name that Kubernetes takes', () => {
    expect(dkimSecretName('example.org', 's1')).toBe('dkim-s1.example.org');
    expect(() => dkimSecretName(`${'a'.repeat(63)}.`.repeat(4), 's1')).toThrow('choose a shorter');
  });
});
