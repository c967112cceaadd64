import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { simpleParser } from 'mailparser';
import { createTransport } from 'nodemailer';
import { describe, expect, it } from 'vitest';
import { encoded, FORGERIES, from, GOOD } from '../testing/forgeries.js';
import { readClaims } from './claims.js';
import { addressesOf, domainsShown, judgeClaims } from './judge.js';
import { AuthorProblem } from './problem.js';

/** alice is logged in. victim@example.org is somebody else here; gmail.example is not ours. */
const OWN = new Set(['alice@example.org', 'director@example.org', 'alice+list@example.org']);
const HOSTED = new Set(['example.org', 'example.net']);

/** The kind of what is wrong; undefined when the message may go. */
function verdict(raw: string): string | undefined {
  try {
    const claims = readClaims(raw);
    judgeClaims(claims, { own: OWN, hosted: HOSTED });
    return undefined;
  } catch (error) {
    if (error instanceof AuthorProblem) return error.kind;
    throw error;
  }
}

describe('forgeries', () => {
  it.each(Object.entries(FORGERIES))('%s', (_name, [raw, kind]) => {
    expect(verdict(raw)).toBe(kind);
  });

  it('are told what to do, in what fits into an SMTP reply', () => {
    for (const [raw] of Object.values(FORGERIES)) {
      expect(() => judgeClaims(readClaims(raw), { own: OWN, hosted: HOSTED })).toThrow(/^[\x20-\x7e]{10,350}; ?[a-z]/i);
    }
  });
});

it('every forgery is in the reference', () => {
  const page = readFileSync(join(import.meta.dirname, '../../../docs/reference/refusals.md'), 'utf8');
  expect(Object.keys(FORGERIES).filter((name) => !page.includes(name))).toEqual([]);
});

/** As the programs write them: copied from their sources and from messages. */
const CLIENTS: Record<string, string> = {
  'Thunderbird, plain': from('Alice Example <alice@example.org>'),
  'Thunderbird, UTF-8': from('=?UTF-8?B?QWxpY2UgTcO8bGxlcg==?= <alice@example.org>'),
  'Thunderbird, a name with a dot': from('"Alice B. Example" <alice@example.org>'),
  'Apple Mail': from('Alice Example <alice@example.org>').replace(
    'Subject: x',
    'Content-Type: text/plain;\r\n\tcharset=us-ascii',
  ),
  'Apple Mail, UTF-8': from('=?utf-8?Q?Alice_M=C3=BCller?= <alice@example.org>'),
  'Outlook, folded': from('"Example, Alice" <alice@example.org>').replace('From: ', 'From: \r\n\t'),
  'Outlook, encoded in quotes': from('"=?iso-8859-1?Q?M=FCller=2C_Alice?=" <alice@example.org>'),
  'Outlook, Japanese': from('=?iso-2022-jp?B?GyRCOzNFRBsoQiBBbGljZQ==?= <alice@example.org>'),
  'Gmail, sending as an alias, with Sender': `${from('Director <director@example.org>')}Sender: alice@example.org\r\n`,
  'Gmail, encoded': from('=?UTF-8?Q?Alice_M=C3=BCller?= <alice@example.org>'),
  mutt: from('Alice Example <alice@example.org>'),
  'mutt, the address alone': from('alice@example.org'),
  'mutt, resent by the author': `Resent-From: Alice <alice@example.org>\r\nResent-To: x@gmail.example\r\n${GOOD}`,
  'a plus address': from('Alice <alice+list@example.org>'),
  'capital letters': from('Alice <Alice@Example.ORG>'),
  'a name with dots, unquoted': from('Alice B. Example Inc. <alice@example.org>'),
  'the same address as name': from('"alice@example.org" <alice@example.org>'),
  'the same address as name, without quotes': from('alice@example.org <alice@example.org>'),
  "an address of one's own as name": from('"director@example.org" <alice@example.org>'),
  "somebody else's address elsewhere in the name": from('"bob@customer.example via support" <alice@example.org>'),
  'lines broken by LF alone, as a milter passes folded fields': from('Alice\n <alice@example.org>'),
  'an apostrophe and a hyphen': from("Alice O'Neil-Smith <alice@example.org>"),
  'an escaped quote in a quoted name': from('"Alice \\"Ally\\" Example" <alice@example.org>'),
  'a character split between two encoded words': from('=?utf-8?B?TcM=?= =?utf-8?B?vGxsZXI=?= <alice@example.org>'),
  'no space before the bracket': from('Alice<alice@example.org>'),
  'the empty line at the end': `${GOOD}\r\n`,
};

describe('what ordinary clients send', () => {
  it.each(Object.entries(CLIENTS))('%s', (_name, raw) => {
    expect(verdict(raw)).toBeUndefined();
  });

  it('nodemailer, with any name', async () => {
    const transport = createTransport({ streamTransport: true, buffer: true });
    const name = fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 60 })
      .filter((text) => !/[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Zl}\p{Zp}@=]/u.test(text));
    await fc.assert(
      fc.asyncProperty(name, async (text) => {
        const { message } = await transport.sendMail({
          from: { name: text, address: 'alice@example.org' },
          to: 'x@gmail.example',
        });
        const raw = message.toString().split('\r\n\r\n')[0] ?? '';
        expect(verdict(raw)).toBeUndefined();
      }),
      { numRuns: 300 },
    );
  });
});

describe('claims', () => {
  it('name all that the directory must be asked', () => {
    const claims = readClaims(from('"Bob bob@EXAMPLE.net" <alice@example.org>'));
    expect(addressesOf(claims)).toEqual(['alice@example.org', 'bob@example.net']);
    expect(domainsShown(claims)).toEqual(['example.net']);
  });
});

/** Pieces from which forgeries are made, by chance. */
const PIECES = [
  'From:',
  'from: ',
  'Sender: ',
  'Resent-From:',
  'From :',
  'To: ',
  'X: ',
  '\r\n',
  '\n',
  '\r',
  '\r\n ',
  '\r\n\t',
  ' ',
  '\t',
  '\0',
  'alice@example.org',
  'victim@example.org',
  'Alice',
  '<',
  '>',
  '(',
  ')',
  '"',
  '\\',
  ',',
  ';',
  ':',
  '@',
  '.',
  '=?utf-8?Q?',
  '=?utf-8?B?',
  '?=',
  '=40',
  'victim=40example.org',
  encoded('victim@example.org'),
  '<alice@example.org>',
  'é',
  '\u202e',
];

const mess = fc.array(fc.constantFrom(...PIECES), { maxLength: 14 }).map((pieces) => pieces.join(''));
const nearlyGood = fc.tuple(mess, mess).map(([before, after]) => `From: ${before}<alice@example.org>${after}\r\n`);

describe('whatever is written', () => {
  it('is refused or accepted, never an error', () => {
    fc.assert(
      fc.property(fc.oneof(mess, nearlyGood, fc.string()), (raw) => void verdict(raw)),
      { numRuns: 20_000 },
    );
  });

  it("passes only if every @ in its author fields belongs to the login's addresses, encoded or not", () => {
    let passed = 0;
    fc.assert(
      fc.property(
        fc.oneof(
          mess.map((raw) => `From:${raw}\r\n`),
          nearlyGood,
        ),
        (raw) => {
          if (verdict(raw) !== undefined) return;
          passed += 1;
          for (const line of raw.split(/\r?\n(?![ \t])/).filter((line) => /^(resent-)?(from|sender)/i.test(line))) {
            expect(liberal(line).match(/victim@/)).toBeNull();
            expect(liberal(line).match(/alice@example\.org/g)?.length).toBeGreaterThan(0);
          }
        },
      ),
      { numRuns: 30_000, seed: randomInt(2 ** 31) },
    );
    expect(passed).toBeGreaterThan(50);
  });

  it('passes only if another reader sees the same single author', async () => {
    let passed = 0;
    await fc.assert(
      fc.asyncProperty(nearlyGood, async (raw) => {
        if (verdict(raw) !== undefined) return;
        passed += 1;
        const { from: seen } = await simpleParser(`${raw}\r\nbody`);
        expect(seen?.value.map(({ address }) => address)).toEqual(['alice@example.org']);
      }),
      { numRuns: 5_000 },
    );
    expect(passed).toBeGreaterThan(10);
  });
});

/** As a careless reader sees a line: everything decoded, wherever it stands. */
function liberal(line: string): string {
  return line
    .replace(/\?=\s+=\?/g, '?==?')
    .replace(/=\?utf-8\?B\?([^?]*)\?=/gi, (_, text: string) => Buffer.from(text, 'base64').toString())
    .replace(/=\?utf-8\?Q\?([^?]*)\?=/gi, (_, text: string) => text.replaceAll('=40', '@'));
}
