/** The little of the DNS wire format (RFC 1035, 4) that asking for TXT records takes. */

export const TYPE = { A: 1, NS: 2, CNAME: 5, SOA: 6, TXT: 16, AAAA: 28 } as const;

export interface ResourceRecord {
  /** Lower case, without the root's dot. */
  name: string;
  type: number;
  /** A and AAAA: the address. NS and CNAME: the name. TXT: its strings, joined. Others: empty. */
  data: string;
}

export interface DnsAnswer {
  id: number;
  truncated: boolean;
  authoritative: boolean;
  /** 0: no error, 3: the name does not exist. */
  code: number;
  answers: ResourceRecord[];
  authorities: ResourceRecord[];
  additional: ResourceRecord[];
}

/** A question to a name server, without the wish for recursion. */
export function encodeQuery(id: number, name: string, type: number): Buffer {
  const header = Buffer.alloc(12);
  header.writeUInt16BE(id, 0);
  header.writeUInt16BE(1, 4);
  const labels = name === '' ? [] : name.split('.');
  const question = labels.map((label) => {
    const bytes = Buffer.from(label, 'latin1');
    if (bytes.length === 0 || bytes.length > 63) throw new Error(`${name} is no domain name`);
    return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  });
  const tail = Buffer.alloc(5);
  tail.writeUInt16BE(type, 1);
  tail.writeUInt16BE(1, 3);
  return Buffer.concat([header, ...question, tail]);
}

/** @throws Error (or RangeError) for what is no answer */
export function decodeAnswer(message: Buffer): DnsAnswer {
  const flags = message.readUInt16BE(2);
  if ((flags & 0x8000) === 0) throw new Error('not an answer');
  const counts = [4, 6, 8, 10].map((at) => message.readUInt16BE(at));
  let at = 12;
  for (let n = 0; n < (counts[0] ?? 0); n += 1) at = readName(message, at).next + 4;
  const section = (count = 0): ResourceRecord[] => {
    const records: ResourceRecord[] = [];
    for (let n = 0; n < count; n += 1) {
      const { record, next } = readRecord(message, at);
      records.push(record);
      at = next;
    }
    return records;
  };
  return {
    id: message.readUInt16BE(0),
    truncated: (flags & 0x0200) !== 0,
    authoritative: (flags & 0x0400) !== 0,
    code: flags & 0x000f,
    answers: section(counts[1]),
    authorities: section(counts[2]),
    additional: section(counts[3]),
  };
}

function readRecord(message: Buffer, start: number): { record: ResourceRecord; next: number } {
  const { name, next: at } = readName(message, start);
  const type = message.readUInt16BE(at);
  const length = message.readUInt16BE(at + 8);
  const data = at + 10;
  if (data + length > message.length) throw new Error('cut off');
  return { record: { name, type, data: readData(message, type, data, length) }, next: data + length };
}

function readData(message: Buffer, type: number, at: number, length: number): string {
  const data = message.subarray(at, at + length);
  switch (type) {
    case TYPE.A:
      return [...data].join('.');
    case TYPE.AAAA:
      return (data.toString('hex').match(/.{4}/g) ?? []).join(':');
    case TYPE.NS:
    case TYPE.CNAME:
      return readName(message, at).name;
    case TYPE.TXT:
      return readStrings(data);
    default:
      return '';
  }
}

function readStrings(data: Buffer): string {
  const parts: string[] = [];
  for (let at = 0; at < data.length; at += 1 + (data[at] ?? 0)) {
    parts.push(data.subarray(at + 1, at + 1 + (data[at] ?? 0)).toString('latin1'));
  }
  return parts.join('');
}

/** Names are compressed by pointers to earlier ones (RFC 1035, 4.1.4). */
function readName(message: Buffer, start: number): { name: string; next: number } {
  const labels: string[] = [];
  let at = start;
  let next: number | undefined;
  for (let steps = 0; steps < 128; steps += 1) {
    const length = message.readUInt8(at);
    if (length === 0) return { name: labels.join('.').toLowerCase(), next: next ?? at + 1 };
    if ((length & 0xc0) === 0xc0) {
      next ??= at + 2;
      at = message.readUInt16BE(at) & 0x3fff;
    } else {
      labels.push(message.toString('latin1', at + 1, at + 1 + length));
      at += 1 + length;
    }
  }
  throw new Error('a name without an end');
}
