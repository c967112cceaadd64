/** SMTP as tests need it: whole messages by nodemailer, and single commands where the reply's code is the point. */
import { connect, type Socket } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import { createTransport } from 'nodemailer';

export interface Target {
  host: string;
  port: number;
}

export interface Mail {
  from: string;
  to: string | string[];
  subject?: string;
  text?: string;
  headers?: Record<string, string>;
  messageId?: string;
  raw?: string;
}

export interface SendOptions {
  /** Wrapped TLS (465); else STARTTLS when offered. */
  implicitTls?: boolean;
  auth?: { user: string; pass: string };
  ca?: string;
  /** Name to check the certificate against. */
  serverName?: string;
  timeoutMs?: number;
}

/** Sends one message; rejects with nodemailer's error (`responseCode`, `response`) when it isn't accepted. */
export async function send(target: Target, mail: Mail, options: SendOptions = {}): Promise<string> {
  const transport = createTransport({
    ...target,
    secure: options.implicitTls ?? false,
    name: 'client.outside.example',
    ...(options.auth === undefined ? {} : { auth: options.auth, requireTLS: true }),
    tls: {
      ...(options.ca === undefined ? { rejectUnauthorized: false } : { ca: options.ca }),
      ...(options.serverName === undefined ? {} : { servername: options.serverName }),
    },
    connectionTimeout: options.timeoutMs ?? 20_000,
    greetingTimeout: options.timeoutMs ?? 20_000,
    socketTimeout: options.timeoutMs ?? 60_000,
  });
  try {
    const { raw, from, to, ...rest } = mail;
    const envelope = { from, to };
    const info =
      raw === undefined
        ? await transport.sendMail({ ...rest, from, to, envelope })
        : await transport.sendMail({ raw, envelope });
    return String(info.response);
  } finally {
    transport.close();
  }
}

/** The code and text of the reply that a rejected message got; undefined if it was accepted. */
export async function refusal(promise: Promise<unknown>): Promise<{ code: number; text: string } | undefined> {
  try {
    await promise;
    return undefined;
  } catch (error) {
    const { responseCode, response, message } = error as { responseCode?: number; response?: string; message: string };
    return { code: responseCode ?? 0, text: response ?? message };
  }
}

export interface Dialogue {
  greeting: string;
  /** Sends a line and answers the whole reply, lines joined by a newline; empty when the server hung up. */
  command(line: string): Promise<string>;
  startTls(): Promise<void>;
  close(): void;
}

/** A bare SMTP conversation. */
export async function dialogue(target: Target, options: { tls?: boolean } = {}): Promise<Dialogue> {
  let socket: Socket = options.tls ? tlsConnect({ ...target, rejectUnauthorized: false }) : connect(target);
  socket.setTimeout(30_000, () => socket.destroy());
  let reader = replies(socket);
  const greeting = await reader();
  return {
    greeting,
    command: async (line) => {
      if (socket.destroyed) return '';
      socket.write(`${line}\r\n`);
      return reader();
    },
    startTls: async () => {
      socket.write('STARTTLS\r\n');
      const reply = await reader();
      if (!reply.startsWith('220')) throw new Error(`STARTTLS: ${reply}`);
      socket.removeAllListeners('data');
      const secured = tlsConnect({ socket, rejectUnauthorized: false });
      await new Promise<void>((resolve, reject) => secured.once('secureConnect', resolve).once('error', reject));
      socket = secured;
      reader = replies(secured);
    },
    close: () => socket.destroy(),
  };
}

/** Reads multi-line replies (RFC 5321, 4.2.1) one after the other. */
function replies(socket: Socket): () => Promise<string> {
  let buffer = '';
  let ended = false;
  let wake = (): void => {};
  const changed = () => wake();
  socket.on('data', (chunk) => {
    buffer += chunk.toString('utf8');
    changed();
  });
  for (const event of ['close', 'error', 'end'] as const) {
    socket.on(event, () => {
      ended = true;
      changed();
    });
  }
  return async () => {
    for (;;) {
      const match = /^(?:\d{3}-.*\r\n)*\d{3}(?: .*)?\r\n/.exec(buffer);
      if (match) {
        buffer = buffer.slice(match[0].length);
        return match[0].trimEnd().replaceAll('\r\n', '\n');
      }
      if (ended) return '';
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
}
