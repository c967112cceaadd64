import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import { type DnsAnswer, decodeAnswer, encodeQuery } from './message.js';

/** Asks one name server. By UDP, and again by TCP when the answer was cut off. */
export async function askServer(
  server: string,
  name: string,
  type: number,
  { timeoutMs, port = 53 }: { timeoutMs: number; port?: number },
): Promise<DnsAnswer> {
  const id = randomInt(0x10000);
  const query = encodeQuery(id, name, type);
  const answer = await byUdp(server, port, id, query, timeoutMs);
  return answer.truncated ? byTcp(server, port, query, timeoutMs) : answer;
}

function byUdp(server: string, port: number, id: number, query: Buffer, timeoutMs: number): Promise<DnsAnswer> {
  return new Promise((resolve, reject) => {
    // Connected: the kernel drops what others send.
    const socket = createSocket(server.includes(':') ? 'udp6' : 'udp4');
    const timer = setTimeout(() => end(new Error(`${server} does not answer`)), timeoutMs);
    const end = (result: Error | DnsAnswer): void => {
      clearTimeout(timer);
      socket.close();
      if (result instanceof Error) reject(result);
      else resolve(result);
    };
    socket.on('error', end);
    socket.on('message', (message) => {
      try {
        const answer = decodeAnswer(message);
        if (answer.id === id) end(answer);
      } catch {
        // Not an answer to us: go on waiting.
      }
    });
    socket.connect(port, server, () => socket.send(query));
  });
}

function byTcp(server: string, port: number, query: Buffer, timeoutMs: number): Promise<DnsAnswer> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: server, port, timeout: timeoutMs });
    let received = Buffer.alloc(0);
    const fail = (error: Error): void => {
      socket.destroy();
      reject(error);
    };
    socket.on('timeout', () => fail(new Error(`${server} does not answer by TCP`)));
    socket.on('error', fail);
    socket.on('end', () => fail(new Error(`${server} hung up`)));
    socket.on('connect', () => {
      const length = Buffer.alloc(2);
      length.writeUInt16BE(query.length);
      socket.write(Buffer.concat([length, query]));
    });
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return;
      try {
        resolve(decodeAnswer(received.subarray(2, 2 + received.readUInt16BE(0))));
        socket.destroy();
      } catch (error) {
        fail(error as Error);
      }
    });
  });
}
