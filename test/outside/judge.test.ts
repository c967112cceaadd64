import { generateKeyPairSync } from 'node:crypto';
import { authenticate } from 'mailauth';
import { describe, expect, it } from 'vitest';
import { judge, sealsOf, type Verdicts } from './judge.js';

const verdicts = (more: Partial<Verdicts> = {}): Verdicts => ({
  spf: { result: 'pass', domain: 'srs.example' },
  dkim: [],
  dmarc: { result: 'pass', policy: 'reject' },
  arc: { result: 'none', sealers: [], dmarc: 'none', trusted: false },
  ...more,
});
const sealed = { result: 'pass', sealers: ['posthorn.example'], dmarc: 'pass', trusted: true };
const failing = { result: 'fail', policy: 'reject' };

describe('the strict server', () => {
  it.each<[string, Partial<Verdicts>, boolean]>([
    ['takes what passes', {}, true],
    [
      'refuses what nobody vouches for',
      { spf: { result: 'none', domain: 'x' }, dmarc: { result: 'none', policy: 'none' } },
      false,
    ],
    ['refuses a failed SPF without DKIM', { spf: { result: 'fail', domain: 'x' } }, false],
    [
      'takes a failed SPF with valid DKIM',
      { spf: { result: 'fail', domain: 'x' }, dkim: [{ result: 'pass', domain: 'x', aligned: true }] },
      true,
    ],
    ['refuses what the policy forbids', { dmarc: failing }, false],
    ['refuses what a quarantine policy means', { dmarc: { result: 'fail', policy: 'quarantine' } }, false],
    ['takes what fails a policy of none', { dmarc: { result: 'fail', policy: 'none' } }, true],
    ['takes what a trusted server has sealed', { dmarc: failing, arc: sealed }, true],
    ['does not take the word of a stranger', { dmarc: failing, arc: { ...sealed, trusted: false } }, false],
    ['does not take a broken chain', { dmarc: failing, arc: { ...sealed, result: 'fail' } }, false],
    ['does not take a seal on what had failed there', { dmarc: failing, arc: { ...sealed, dmarc: 'fail' } }, false],
  ])('%s', (_title, given, taken) => {
    const { refusal } = judge(verdicts(given));
    expect(refusal === undefined).toBe(taken);
    if (!taken) expect(refusal).toMatch(/^5\.7\.26 /);
  });
});

it('puts off what it can not judge', () => {
  expect(judge(verdicts({ spf: { result: 'temperror', domain: 'x' } })).refusal).toMatch(/^4/);
});

it('reads seals as mailauth writes them', async () => {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
  const message =
    'From: amy@sender.example\r\nSubject: x\r\nDate: Tue, 24 Nov 2026 13:00:00 +0000\r\nMessage-ID: <a@b>\r\n\r\nx\r\n';
  const resolver = async (name: string) => {
    if (name === '_dmarc.sender.example') return [['v=DMARC1; p=reject']];
    if (name === 'sender.example') return [['v=spf1 ip4:192.0.2.1 -all']];
    throw Object.assign(new Error('none'), { code: 'ENOTFOUND' });
  };
  const { headers } = await authenticate(message, {
    ip: '192.0.2.1',
    helo: 'mx.sender.example',
    sender: 'amy@sender.example',
    mta: 'mx.posthorn.example',
    resolver: resolver as never,
    seal: { signingDomain: 'posthorn.example', selector: 's', privateKey: pem },
  });
  expect(sealsOf(Buffer.from(headers + message))).toEqual({ sealers: ['posthorn.example'], dmarc: 'pass' });
});
