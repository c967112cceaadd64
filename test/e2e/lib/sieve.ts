/** ManageSieve (RFC 5804), as far as tests need it. */
import { connect } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import type { Login } from './imap.js';
import type { Target } from './smtp.js';

/** Logs in by STARTTLS, keeps a script and makes it the active one. Rejects with the server's NO. */
export async function putScript(target: Target, { user, pass }: Login, name: string, script: string): Promise<void> {
  const plain = connect(target);
  await answer(plain);
  plain.write('STARTTLS\r\n');
  await answer(plain);
  const socket = tlsConnect({ socket: plain, rejectUnauthorized: false });
  try {
    await answer(socket);
    const token = Buffer.from(`\0${user}\0${pass}`).toString('base64');
    const lines = [
      `AUTHENTICATE "PLAIN" "${token}"`,
      `PUTSCRIPT "${name}" {${Buffer.byteLength(script)}+}\r\n${script}`,
      `SETACTIVE "${name}"`,
    ];
    for (const line of lines) {
      socket.write(`${line}\r\n`);
      const said = await answer(socket);
      if (!/^OK/m.test(said)) throw new Error(said);
    }
  } finally {
    socket.destroy();
    plain.destroy();
  }
}

/** Everything up to a line that begins with OK, NO or BYE. */
function answer(socket: NodeJS.ReadWriteStream): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const done = (result: () => void) => {
      socket.removeListener('data', onData);
      socket.removeListener('error', onError);
      socket.removeListener('close', onClose);
      result();
    };
    const onData = (chunk: Buffer) => {
      text += chunk.toString('utf8');
      if (/^(OK|NO|BYE)\b.*\r\n/m.test(text)) done(() => resolve(text));
    };
    const onError = (error: Error) => done(() => reject(error));
    const onClose = () => done(() => reject(new Error(`the connection ended: ${text}`)));
    socket.on('data', onData).once('error', onError).once('close', onClose);
  });
}
