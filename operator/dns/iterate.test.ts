import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type NameServer, startNameServer } from '../testing/nameserver.js';
import { iterativeTxt } from './iterate.js';
import { decodeAnswer } from './message.js';

let root: NameServer;
let org: NameServer;
let example: NameServer;

/** Three servers on one port of three addresses, as if it were port 53. */
beforeAll(async () => {
  root = await startNameServer('127.0.0.1');
  org = await startNameServer('127.0.0.2', root.port);
  example = await startNameServer('127.0.0.3', root.port);
});
afterAll(() => Promise.all([root, org, example].map((server) => server?.stop())));
beforeEach(() => {
  root.serve({ delegations: { org: [{ server: 'ns.nic.org', address: '127.0.0.2' }] } });
  org.serve({ delegations: { 'example.org': [{ server: 'ns.example.org', address: '127.0.0.3' }] } });
  example.serve({ records: { '_c.example.org TXT': ['a proof'] } });
  for (const server of [root, org, example]) server.questions.length = 0;
});

const ask = (name: string) => iterativeTxt(['127.0.0.1'], name, { timeoutMs: 300, tries: 2, port: root.port });

describe('iterativeTxt', () => {
  it('follows delegations from the root', async () => {
    expect(await ask('_c.Example.org')).toEqual({ kind: 'found', values: ['a proof'] });
    expect([root, org, example].map(({ questions }) => questions.length)).toEqual([1, 1, 1]);
  });

  it('tells a name without such records, and a name that does not exist, from failures', async () => {
    example.serve({ records: { '_c.example.org A': ['127.0.0.9'] } });
    expect(await ask('_c.example.org')).toEqual({ kind: 'absent' });
    expect(await ask('_d.example.org')).toEqual({ kind: 'absent' });
    example.serve({ code: 2 });
    expect(await ask('_c.example.org')).toMatchObject({ kind: 'failed', message: '127.0.0.3 answers with code 2' });
    example.serve({ silent: true });
    expect(await ask('_c.example.org')).toMatchObject({ kind: 'failed', message: '127.0.0.3 does not answer' });
  });

  it('asks another server of the zone when one does not answer', async () => {
    org.serve({
      delegations: {
        'example.org': [
          { server: 'dead.example.org', address: '127.0.0.4' },
          { server: 'ns.example.org', address: '127.0.0.3' },
        ],
      },
    });
    expect(await ask('_c.example.org')).toMatchObject({ kind: 'found' });
  });

  it('looks up name servers that come without an address', async () => {
    root.serve({
      delegations: {
        org: [{ server: 'ns.nic.org', address: '127.0.0.2' }],
        test: [{ server: 'ns.example.org' }],
      },
    });
    example.serve({ records: { 'ns.example.org A': ['127.0.0.3'], '_c.a.test TXT': ['far'] } });
    expect(await ask('_c.a.test')).toEqual({ kind: 'found', values: ['far'] });
  });

  it('follows aliases, and gives up where they go in a circle', async () => {
    example.serve({ records: { '_c.example.org CNAME': ['_d.example.org'], '_d.example.org TXT': ['there'] } });
    expect(await ask('_c.example.org')).toEqual({ kind: 'found', values: ['there'] });
    example.serve({
      records: { '_c.example.org CNAME': ['_d.example.org'], '_d.example.org CNAME': ['_c.example.org'] },
    });
    expect(await ask('_c.example.org')).toMatchObject({
      kind: 'failed',
      message: expect.stringContaining('alias of an alias'),
    });
  });

  it('takes an answer that is too long by TCP, strings joined', async () => {
    const long = 'x'.repeat(700);
    example.serve({ truncate: true, records: { '_c.example.org TXT': [long, 'short'] } });
    expect(await ask('_c.example.org')).toEqual({ kind: 'found', values: [long, 'short'] });
  });

  it.each([
    ['itself', 'example.org'],
    ['its parent', 'org'],
  ])('is not led in a circle by a zone that delegates to %s', async (_, zone) => {
    example.serve({ delegations: { [zone]: [{ server: 'ns.example.org', address: '127.0.0.3' }] } });
    expect(await ask('_c.example.org')).toMatchObject({
      kind: 'failed',
      message: expect.stringContaining('know nothing of'),
    });
  });
});

it('decodeAnswer throws at what is no answer, and never hangs', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
      const message = Buffer.from(bytes);
      if (message.length > 2) message[2] = 0x80;
      try {
        decodeAnswer(message);
      } catch (error) {
        expect(error).toBeInstanceOf(Error);
      }
    }),
    { numRuns: 2_000 },
  );
});
