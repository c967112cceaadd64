import { setMaxListeners } from 'node:events';
import { connect, type TLSSocket } from 'node:tls';

export interface LoginTarget {
  host: string;
  port: number;
  ca: string;
  servername: string;
}

/** A log-in on a new connection (TLS from the first byte); false when it is refused or the connection ends. */
export function logIn(target: LoginTarget, user: string, pass: string, signal?: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const socket: TLSSocket = connect({ ...target, timeout: 20_000 });
    const finish = (success: boolean): void => {
      signal?.removeEventListener('abort', abort);
      socket.destroy();
      resolve(success);
    };
    const abort = (): void => finish(false);
    signal?.addEventListener('abort', abort, { once: true });
    let received = '';
    let sent = false;
    socket.on('data', (chunk) => {
      received += chunk.toString('latin1');
      if (!sent && /^\* OK .*\r\n/.test(received)) {
        sent = true;
        socket.write(`a LOGIN "${user}" "${pass}"\r\n`);
      }
      const answer = /^a (OK|NO|BAD)/m.exec(received);
      if (answer !== null) finish(answer[1] === 'OK');
    });
    for (const event of ['error', 'end', 'close', 'timeout'] as const) socket.on(event, () => finish(false));
  });
}

export interface Probing {
  /** Between the starts of two attempts. */
  intervalMs: number;
  /** Attempts under way at most: a slow system must not be made slower by those who ask. */
  most: number;
  timeoutMs: number;
}

/**
 * Waits for the first log-in that succeeds. Dovecot answers a refused one after 2 s only, so attempts don't wait for
 * each other: one starts every `intervalMs`, and one more when `hint` resolves, from when on it should work.
 *
 * @returns when it succeeded, by `performance.now()`
 */
export async function firstLogIn(
  target: LoginTarget,
  user: string,
  pass: string,
  hint: Promise<unknown>,
  { intervalMs, most, timeoutMs }: Probing,
): Promise<number> {
  const over = new AbortController();
  setMaxListeners(0, over.signal);
  let running = 0;
  try {
    return await new Promise((resolve, reject) => {
      const attempt = async (): Promise<void> => {
        if (over.signal.aborted) return;
        running += 1;
        if (await logIn(target, user, pass, over.signal)) resolve(performance.now());
        running -= 1;
      };
      const attemptUnlessMany = (): void => {
        if (running < most) void attempt();
      };
      const timer = setInterval(attemptUnlessMany, intervalMs);
      const fail = () => reject(new Error(`${user} could not log in within ${timeoutMs} ms`));
      const deadline = setTimeout(fail, timeoutMs);
      over.signal.addEventListener('abort', () => {
        clearInterval(timer);
        clearTimeout(deadline);
      });
      hint.then(attempt, reject);
    });
  } finally {
    over.abort();
  }
}
