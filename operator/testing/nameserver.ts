/** A name server on loopback (UDP and TCP) that answers as a test tells it to. */
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import { TYPE } from '../dns/message.js';

export interface Zone {
  /** `name TYPE` → data of its records. A name without any does not exist. */
  records?: Record<string, string[]>;
  /** Zone → name servers it is delegated to, each with its address. */
  delegations?: Record<string, { server: string; address?: string }[]>;
  /** Response code for everything: 2 is SERVFAIL. */
  code?: number;
  /** Cuts UDP answers off. */
  truncate?: boolean;
  /** Answers nothing. */
  silent?: boolean;
}

export interface NameServer {
  readonly port: number;
  readonly questions: string[];
  serve(zone: Zone): void;
  stop(): Promise<void>;
}

type TypeName = keyof typeof TYPE;

/** @param address of loopback, so that several can have port 53's place on one port */
export async function startNameServer(address = '127.0.0.1', port = 0): Promise<NameServer> {
  let zone: Zone = {};
  const questions: string[] = [];
  const answer = (query: Buffer, udp: boolean): Buffer | undefined => {
    const { name, type } = questionOf(query);
    questions.push(`${name} ${type}`);
    return zone.silent === true ? undefined : reply(query, zone, name, type, udp);
  };
  const udp = createSocket('udp4');
  udp.on('message', (query, from) => {
    const message = answer(query, true);
    if (message !== undefined) udp.send(message, from.port, from.address);
  });
  await new Promise<void>((resolve) => udp.bind(port, address, resolve));
  const bound = udp.address().port;
  const tcp = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.on('data', (data: Buffer) => {
      const message = answer(data.subarray(2), false);
      if (message === undefined) return;
      const length = Buffer.alloc(2);
      length.writeUInt16BE(message.length);
      // In two parts, as networks may.
      socket.write(Buffer.concat([length, message.subarray(0, 5)]));
      setTimeout(() => socket.end(message.subarray(5)), 10);
    });
  });
  await new Promise<void>((resolve) => tcp.listen(bound, address, resolve));
  return {
    port: bound,
    questions,
    serve: (next) => {
      zone = next;
    },
    stop: async () => {
      await new Promise<void>((resolve) => udp.close(() => resolve()));
      await new Promise<void>((resolve) => tcp.close(() => resolve()));
    },
  };
}

function questionOf(query: Buffer): { name: string; type: string } {
  const labels: string[] = [];
  let at = 12;
  for (let length = query.readUInt8(at); length > 0; length = query.readUInt8(at)) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  const number = query.readUInt16BE(at + 1);
  const type = Object.entries(TYPE).find(([, value]) => value === number)?.[0] ?? String(number);
  return { name: labels.join('.').toLowerCase(), type };
}

function reply(query: Buffer, zone: Zone, name: string, type: string, udp: boolean): Buffer {
  const question = query.subarray(12, 12 + wire(name).length + 4);
  const sections = contents(zone, name, type);
  const cut = udp && zone.truncate === true;
  const { code, authoritative } = sections;
  const header = Buffer.alloc(12);
  header.writeUInt16BE(query.readUInt16BE(0), 0);
  header.writeUInt16BE(0x8000 | (authoritative ? 0x0400 : 0) | (cut ? 0x0200 : 0) | code, 2);
  header.writeUInt16BE(1, 4);
  const parts = cut ? [[], [], []] : [sections.answers, sections.authorities, sections.additional];
  parts.forEach((part, index) => {
    header.writeUInt16BE(part.length, 6 + 2 * index);
  });
  return Buffer.concat([header, question, ...parts.flat()]);
}

function contents(zone: Zone, name: string, type: string) {
  const { records = {}, delegations = {}, code = 0 } = zone;
  const none = { answers: [] as Buffer[], authorities: [] as Buffer[], additional: [] as Buffer[] };
  if (code !== 0) return { ...none, code, authoritative: false };
  const cut = Object.keys(delegations).find((below) => name === below || name.endsWith(`.${below}`));
  if (cut !== undefined) {
    const servers = delegations[cut] ?? [];
    return {
      ...none,
      code,
      authoritative: false,
      authorities: servers.map(({ server }) => record(cut, 'NS', server)),
      additional: servers.flatMap(({ server, address }) =>
        address === undefined ? [] : [record(server, 'A', address)],
      ),
    };
  }
  const alias = records[`${name} CNAME`];
  const found = records[`${name} ${type}`] ?? alias ?? [];
  const answers = found.map((data) => record(name, (alias === undefined ? type : 'CNAME') as TypeName, data));
  const exists = Object.keys(records).some((key) => key.startsWith(`${name} `));
  return { ...none, answers, code: exists ? 0 : 3, authoritative: true };
}

function record(name: string, type: TypeName, data: string): Buffer {
  const rdata = dataOf(type, data);
  const fields = Buffer.alloc(10);
  fields.writeUInt16BE(TYPE[type], 0);
  fields.writeUInt16BE(1, 2);
  fields.writeUInt16BE(rdata.length, 8);
  return Buffer.concat([wire(name), fields, rdata]);
}

function dataOf(type: TypeName, data: string): Buffer {
  if (type === 'A') return Buffer.from(data.split('.').map(Number));
  if (type === 'NS' || type === 'CNAME') return wire(data);
  const parts = data.match(/.{1,255}/gs) ?? [''];
  return Buffer.concat(parts.map((part) => Buffer.concat([Buffer.from([part.length]), Buffer.from(part, 'latin1')])));
}

function wire(name: string): Buffer {
  const labels = name === '' ? [] : name.split('.');
  return Buffer.concat([
    ...labels.map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label, 'latin1')])),
    Buffer.from([0]),
  ]);
}
