import { connect, type Socket } from 'node:net';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { silentLog } from '../../../operator/runtime/log.js';
import { createRequestReader, formatAction, parseRequest } from './protocol.js';
import { type PolicyServer, startPolicyServer } from './server.js';

const REQUEST = 'request=smtpd_access_policy\nrecipient=a=b@example.org\nsender=\n\n';

describe('requests', () => {
  it('are read whatever pieces they come in', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 20 }), (sizes) => {
        const reader = createRequestReader();
        let rest = REQUEST.repeat(3);
        const read = sizes.flatMap((size) => {
          const piece = rest.slice(0, size);
          rest = rest.slice(size);
          return reader.push(piece);
        });
        read.push(...reader.push(rest));
        expect(read).toEqual(Array(3).fill(parseRequest(REQUEST.trimEnd())));
      }),
    );
    expect(parseRequest(REQUEST.trimEnd()).get('recipient')).toBe('a=b@example.org');
  });

  it.each(['', 'x', '=x', 'request=other', 'recipient=a@b'])('%j is none', (text) => {
    expect(() => parseRequest(text)).toThrow();
  });

  it('have an end', () => {
    expect(() => createRequestReader().push('x'.repeat(100_000))).toThrow(/does not end/);
  });
});

it('an action is one line, whatever is in it', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      expect(formatAction(`550 5.1.1 ${text}`)).toMatch(/^action=550 5\.1\.1 [\x20-\x7e]*\n\n$/);
    }),
  );
});

let server: PolicyServer | undefined;
let socket: Socket | undefined;

afterEach(async () => {
  socket?.destroy();
  await server?.close();
});

/** What comes back, until there are so many answers. */
function answers(count: number): Promise<string> {
  let text = '';
  return new Promise((resolve) => {
    socket?.on('data', (data) => {
      text += data.toString();
      if (text.split('\n\n').length > count) resolve(text);
    });
  });
}

describe('the server', () => {
  it('answers in the order of the questions', async () => {
    let asked = 0;
    server = await startPolicyServer({
      host: '127.0.0.1',
      port: 0,
      log: silentLog,
      decide: async () => {
        asked += 1;
        const mine = asked;
        await new Promise((resolve) => setTimeout(resolve, 20 - 5 * mine));
        return `450 ${mine}`;
      },
    });
    socket = connect(server.port, '127.0.0.1');
    socket.write(REQUEST.repeat(3));
    expect(await answers(3)).toBe('action=450 1\n\naction=450 2\n\naction=450 3\n\n');
  });

  it('puts off what fails or takes too long', async () => {
    const decisions = [() => Promise.reject(new Error('broken')), () => new Promise<string>(() => undefined)];
    server = await startPolicyServer({
      host: '127.0.0.1',
      port: 0,
      log: silentLog,
      timeoutMs: 50,
      decide: () => (decisions.shift() as () => Promise<string>)(),
    });
    socket = connect(server.port, '127.0.0.1');
    socket.write(REQUEST.repeat(2));
    expect(await answers(2)).toMatch(/^(action=451 4\.3\.0 [^\n]+\n\n){2}$/);
  });

  it('answers what it was asked when it is closed, and then ends', async () => {
    let finish = (_: string): void => undefined;
    let begin = (): void => undefined;
    const begun = new Promise<void>((resolve) => {
      begin = resolve;
    });
    server = await startPolicyServer({
      host: '127.0.0.1',
      port: 0,
      log: silentLog,
      decide: () => {
        begin();
        return new Promise((resolve) => {
          finish = resolve;
        });
      },
    });
    socket = connect(server.port, '127.0.0.1');
    const ended = new Promise((resolve) => socket?.once('end', resolve));
    socket.write(REQUEST);
    await begun;
    const closed = server.close();
    const answer = answers(1);
    finish('OK');
    expect(await answer).toBe('action=OK\n\n');
    await Promise.all([ended, closed]);
  });
});
