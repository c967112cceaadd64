import { createHash } from 'node:crypto';
import { verify } from '@node-rs/argon2';
import { describe, expect, it } from 'vitest';
import {
  limiter,
  looksGenerated,
  PasswordUnusable,
  passwordSource,
  prepareAppPassword,
  preparePassword,
  readPassword,
} from './password.js';

const bytes = (text: string) => new TextEncoder().encode(text);

// Of the password "secret", by openssl passwd and by the argon2 program.
const SHA512 = '$6$saltsalt$Wzlp0ArHcHjeZDHIXvUCMLfsRHi7cnWcmtWUCJLSlOmzNWKmbrCb1EjZUnFrkzTHgbyPr4FS6aiF3OKPQ4fZl1';
const ARGON = '$argon2id$v=19$m=65536,t=3,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA';
const BLF = `$2y$10$${'a'.repeat(53)}`;

describe('readPassword', () => {
  it.each([
    ['secret', 'secret'],
    ['secret\n', 'secret'],
    ['secret\r\n', 'secret'],
    [' spaces count ', ' spaces count '],
    ['{', '{'],
    ['{not a scheme}x', '{not a scheme}x'],
    ['pässwörd 🔑', 'pässwörd 🔑'],
    ['x'.repeat(512), 'x'.repeat(512)],
    ['$2y$10$ is short', '$2y$10$ is short'],
    ['$ecret$ecret$ecret$ecret$ecret', '$ecret$ecret$ecret$ecret$ecret'],
  ])('%j is the password %j', (value, plain) => {
    expect(readPassword(bytes(value))).toEqual({ plain });
  });

  it.each([
    [`{ARGON2ID}${ARGON}\n`, `{ARGON2ID}${ARGON}`],
    [`{argon2id}${ARGON}`, `{ARGON2ID}${ARGON}`],
    [`{SHA512-CRYPT}${SHA512}`, `{SHA512-CRYPT}${SHA512}`],
    [`{BLF-CRYPT}${BLF}`, `{BLF-CRYPT}${BLF}`],
    [BLF, `{BLF-CRYPT}${BLF}`],
    [`${BLF.replace('2y', '2b')}\n`, `{BLF-CRYPT}${BLF.replace('2y', '2b')}`],
    [SHA512, `{SHA512-CRYPT}${SHA512}`],
    [ARGON, `{ARGON2ID}${ARGON}`],
  ])('%s is taken over', (value, hashed) => {
    expect(readPassword(bytes(value))).toEqual({ hashed });
  });

  it.each([
    ['', /empty/],
    ['\n', /empty/],
    ['a\nb', /line break/],
    ['secret\n\n', /line break/],
    ['a\0b', /NUL/],
    ['x'.repeat(513), /513 octets/],
    ['{PLAIN}secret', /\{PLAIN\} are not accepted/],
    ['{MD5}x', /not accepted/],
    ['{SSHA512}x', /not accepted/],
    ['{ARGON2ID}secret', /not such a hash/],
    [`{ARGON2I}${ARGON}`, /not such a hash/],
    [`{ARGON2ID}${ARGON.replace('65536', '4194304')}`, /too costly/],
    [`{ARGON2ID}${ARGON.replace('p=1', 'p=4')}`, /not such a hash/],
    [`{BLF-CRYPT}${BLF.replace('$10$', '$31$')}`, /too costly/],
    [`{SHA512-CRYPT}${SHA512.replace('$6$', '$6$rounds=1000$')}`, /too weak/],
    [`{SHA512-CRYPT}${SHA512}' OR 1=1`, /not such a hash/],
    [`$2y$10$${'a'.repeat(52)}`, /not such a hash/],
    [BLF.replace('$10$', '$31$'), /too costly/],
    [`$1$saltsalt$${'a'.repeat(22)}`, /not accepted/],
    [`$y$j9T$salt$${'a'.repeat(43)}`, /not accepted/],
  ])('%j is refused', (value, message) => {
    expect(() => readPassword(bytes(value))).toThrow(message);
    expect(() => readPassword(bytes(value))).toThrow(PasswordUnusable);
  });

  it('refuses what is not UTF-8, and never repeats a password in its message', () => {
    expect(() => readPassword(Uint8Array.of(0xff, 0xfe))).toThrow(/UTF-8/);
    expect(() => readPassword(bytes('{PLAIN}hunter2'))).not.toThrow(/hunter2/);
  });
});

describe('preparePassword', () => {
  it('gives Dovecot its format, with the parameters that libsodium can check', async () => {
    const hashed = await preparePassword(bytes('secret\n'));
    expect(hashed).toMatch(/^\{ARGON2ID\}\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
    expect(await preparePassword(hashed)).toBe(hashed);
    expect(await verify(hashed.slice('{ARGON2ID}'.length), 'secret')).toBe(true);
    expect(await verify(hashed.slice('{ARGON2ID}'.length), 'Secret')).toBe(false);
    expect(await preparePassword('secret')).not.toBe(hashed);
    await expect(preparePassword('')).rejects.toThrow(PasswordUnusable);
    await expect(preparePassword(Buffer.from([0xff]).toString('utf8'))).rejects.toThrow(/UTF-8/);
  });
});

it('limiter: so many at a time, failures included', async () => {
  const limited = limiter(2);
  let [running, most] = [0, 0];
  const work = async (i: number) => {
    running += 1;
    most = Math.max(most, running);
    await new Promise((resolve) => setTimeout(resolve, 2));
    running -= 1;
    if (i % 3 === 0) throw new Error('failed');
    return i;
  };
  const results = await Promise.allSettled(Array.from({ length: 20 }, (_, i) => limited(() => work(i))));
  expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(13);
  expect(most).toBe(2);
});

it('passwordSource differs for each version and key', () => {
  const secret = { uid: 'u', resourceVersion: '7', key: 'password' };
  const sources = [
    passwordSource(secret),
    passwordSource({ ...secret, key: 'other' }),
    passwordSource({ ...secret, resourceVersion: '8' }),
    passwordSource({ ...secret, uid: 'v' }),
  ];
  expect(new Set(sources).size).toBe(4);
});

describe('prepareAppPassword', () => {
  it('hashes what was generated with a salt, fast; Dovecot finds the salt behind the digest', async () => {
    const password = 'Zm9vYmFy0123456789/+abcdefgh';
    const hash = await prepareAppPassword(bytes(password));
    const data = Buffer.from(hash.slice('{SSHA512}'.length), 'base64');
    const again = createHash('sha512').update(password).update(data.subarray(64)).digest();
    expect(hash).toMatch(/^\{SSHA512\}/);
    expect(data.subarray(64)).toHaveLength(16);
    expect(data.subarray(0, 64).equals(again)).toBe(true);
    expect(await prepareAppPassword(bytes(password))).not.toBe(hash);
  });

  it.each([
    'secret',
    'correct horse battery staple 123',
    'CorrectHorseBatteryStaple12',
    '111111111111111111111111',
    'abc123abc123abc123abc123',
  ])('takes its time with %s', async (password) => {
    expect(looksGenerated(password)).toBe(false);
    expect(await prepareAppPassword(bytes(password))).toMatch(/^\{ARGON2ID\}/);
  });

  it('takes hashes over, and refuses what preparePassword refuses', async () => {
    expect(await prepareAppPassword(bytes(BLF))).toBe(`{BLF-CRYPT}${BLF}`);
    await expect(prepareAppPassword(bytes('{SSHA512}x'))).rejects.toThrow(/not accepted/);
  });
});
