// The whole DNS of the checks, on 127.0.0.1:53: outside.test has one MX at the address given; nothing else exists.
import { createSocket } from 'node:dgram';

const address = process.argv[2].split('.').map(Number);
const A = 1;
const MX = 15;

function answer(query) {
  const { name, type, end } = question(query);
  const records = lookUp(name, type);
  const exists = name === 'outside.test' || name === 'mx.outside.test';
  const header = Buffer.alloc(12);
  query.copy(header, 0, 0, 2);
  header.writeUInt16BE(exists ? 0x8180 : 0x8183, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(records.length, 6);
  return Buffer.concat([header, query.subarray(12, end), ...records]);
}

function question(query) {
  const labels = [];
  let at = 12;
  while (query[at] !== 0) {
    labels.push(query.toString('latin1', at + 1, at + 1 + query[at]));
    at += 1 + query[at];
  }
  return { name: labels.join('.').toLowerCase(), type: query.readUInt16BE(at + 1), end: at + 5 };
}

function lookUp(name, type) {
  if (type === MX && name === 'outside.test')
    return [record(MX, Buffer.from('\0\x0a\x02mx\x07outside\x04test\0', 'latin1'))];
  if (type === A && name === 'mx.outside.test') return [record(A, Buffer.from(address))];
  return [];
}

function record(type, data) {
  const head = Buffer.from([0xc0, 12, 0, type, 0, 1, 0, 0, 0, 60, 0, data.length]);
  return Buffer.concat([head, data]);
}

const socket = createSocket('udp4');
socket.on('message', (query, peer) => socket.send(answer(query), peer.port, peer.address));
socket.bind(53, '127.0.0.1');
