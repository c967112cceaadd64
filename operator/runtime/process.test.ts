import { describe, expect, it, vi } from 'vitest';
import { createLog, silentLog } from './log.js';
import { createMetrics } from './metrics.js';
import { createQueue } from './queue.js';
import { startServer } from './server.js';
import { createStop } from './stop.js';

describe('the log', () => {
  const logged = (fields: object): string => {
    const lines: string[] = [];
    createLog({ destination: { write: (line) => void lines.push(line) } }).info(fields, 'message');
    return lines.join('');
  };

  it('keeps secrets out, at any of the first levels', () => {
    const secret = 'hunter2';
    const text = logged({
      password: secret,
      user: { token: secret, deeper: { password: secret } },
      headers: { authorization: secret },
      object: { data: { k: secret }, stringData: { k: secret } },
      'tls.key': secret,
      s: { 'tls.key': secret },
    });
    expect(text).not.toContain(secret);
    expect(text).toContain('[redacted]');
  });

  it('says what an error is, in one line of JSON', () => {
    const record = JSON.parse(
      logged({ err: Object.assign(new Error('broken'), { status: 500, body: { password: 'hunter2' } }) }),
    );
    expect(record).toMatchObject({ level: 'info', msg: 'message', err: { message: 'broken', status: 500 } });
    expect(record.time).toMatch(/^\d{4}-\d\d-\d\dT/);
    expect(JSON.stringify(record)).not.toContain('hunter2');
  });
});

describe('the server', () => {
  it('shows metrics, and the state of its checks', async () => {
    const metrics = createMetrics();
    const queue = createQueue({ name: 'mailbox', metrics });
    queue.add('a');
    createQueue({ name: 'mailbox', metrics }).add('of another namespace');
    let ready = false;
    const thrower = () => {
      throw new Error('a bug in a check');
    };
    const server = await startServer({
      port: 0,
      host: '127.0.0.1',
      metrics,
      ready: { synced: () => ready },
      healthy: { broken: thrower },
    });
    const get = async (path: string) => {
      const answer = await fetch(`http://127.0.0.1:${server.port}${path}`);
      return { status: answer.status, text: await answer.text() };
    };
    expect(await get('/readyz')).toEqual({ status: 503, text: '[-] synced\nfailed\n' });
    ready = true;
    expect(await get('/readyz?verbose')).toEqual({ status: 200, text: '[+] synced\nok\n' });
    expect((await get('/healthz')).status).toBe(503);
    expect((await get('/metrics')).text).toContain('posthorn_queue_depth{queue="mailbox"} 2');
    expect((await get('/')).status).toBe(404);
    await server.close();
  });
});

describe('stopping', () => {
  it('closes in reverse order, whatever fails', async () => {
    const stop = createStop({ log: silentLog, signals: ['SIGUSR2'], exit: () => {} });
    const closed: string[] = [];
    stop.onStop('first', () => void closed.push('first'));
    stop.onStop('broken', () => {
      throw new Error('broken');
    });
    stop.onStop('last', async () => void closed.push('last'));
    process.kill(process.pid, 'SIGUSR2');
    await stop.stopped;
    expect(closed).toEqual(['last', 'first']);
    expect(stop.signal.aborted).toBe(true);
  });

  it('ends the process when closing hangs', async () => {
    const exit = vi.fn();
    const stop = createStop({ log: silentLog, signals: [], graceMs: 20, exit });
    stop.onStop('hangs', () => new Promise(() => {}));
    stop.request('test');
    await vi.waitFor(() => expect(exit).toHaveBeenCalledWith(1));
  });
});
