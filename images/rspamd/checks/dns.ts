import { createSocket, type Socket } from 'node:dgram';

/** Name → record type → values; `fail` answers SERVFAIL. What is not in it does not exist. */
export type Zone = Record<string, { A?: string[]; MX?: string[]; TXT?: string[]; fail?: boolean }>;

const TYPES: Readonly<Record<number, 'A' | 'MX' | 'TXT'>> = { 1: 'A', 15: 'MX', 16: 'TXT' };

/** The whole DNS of the checks, on 127.0.0.1:53. The zone may change while it runs. */
export function serve(zone: Zone): Promise<Socket> {
  const socket = createSocket('udp4');
  socket.on('message', (query, peer) => socket.send(answer(zone, query), peer.port, peer.address));
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.bind(53, '127.0.0.1', () => resolve(socket));
  });
}

function answer(zone: Zone, query: Buffer): Buffer {
  const { name, type, end } = question(query);
  const entry = zone[name];
  const kind = TYPES[type];
  const records = entry && kind ? (entry[kind] ?? []).map((value) => record(type, data(kind, value))) : [];
  const header = Buffer.alloc(12);
  query.copy(header, 0, 0, 2);
  const code = entry?.fail ? 2 : entry ? 0 : 3;
  header.writeUInt16BE(0x8180 | code, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(records.length, 6);
  return Buffer.concat([header, query.subarray(12, end), ...records]);
}

function question(query: Buffer): { name: string; type: number; end: number } {
  const labels: string[] = [];
  let at = 12;
  for (let length = query[at] ?? 0; length !== 0; length = query[at] ?? 0) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join('.').toLowerCase(), type: query.readUInt16BE(at + 1), end: at + 5 };
}

function data(kind: 'A' | 'MX' | 'TXT', value: string): Buffer {
  if (kind === 'A') return Buffer.from(value.split('.').map(Number));
  if (kind === 'TXT') {
    const parts = value.match(/.{1,255}/gs) ?? [''];
    return Buffer.concat(parts.map((part) => Buffer.concat([Buffer.from([part.length]), Buffer.from(part)])));
  }
  const labels = value.split('.').map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)]));
  return Buffer.concat([Buffer.from([0, 10]), ...labels, Buffer.from([0])]);
}

function record(type: number, content: Buffer): Buffer {
  const head = Buffer.from([0xc0, 12, 0, type, 0, 1, 0, 0, 0, 0, 0, 0]);
  head.writeUInt16BE(content.length, 10);
  return Buffer.concat([head, content]);
}
