import { describe, expect, it } from 'vitest';
import { bounced, deliveryId, printable, queuedAt, writtenTo } from './delivery.js';

const body = 'From: a@example.org\r\nReceived: not a header here? yes, one\r\n\r\nReceived: in the body\r\n';
const hop = (id: string, date: string) =>
  `Received: from mx (mx [10.0.0.1])\r\n\tby forward with ESMTPS id ${id};\r\n ${date}\r\n`;
const message = (top: string) => Buffer.from(`${top}${body}`, 'latin1');

describe('deliveryId', () => {
  const original = message(
    `Delivered-To: bot@example.org\r\n${hop('AAAA', 'Tue, 24 Nov 2026 13:00:00 +0000 (UTC)')}${hop('MX1', 'x')}`,
  );

  it('is the same when the last hop queued the same message again', () => {
    const again = message(
      `Delivered-To: bot@example.org\r\n${hop('BBBB', 'Tue, 24 Nov 2026 13:07:00 +0000 (UTC)')}${hop('MX1', 'x')}`,
    );
    expect(deliveryId('u.0', again)).toBe(deliveryId('u.0', original));
    expect(deliveryId('u.0', original)).toMatch(/^[0-9a-f]{32}$/);
  });

  it('differs for another message with the same text, another target, and another body', () => {
    const other = message(`${hop('AAAA', 'x')}${hop('MX2', 'x')}`);
    const longer = Buffer.concat([original, Buffer.from('x')]);
    const ids = [
      deliveryId('u.0', original),
      deliveryId('u.1', original),
      deliveryId('u.0', other),
      deliveryId('u.0', longer),
    ];
    expect(new Set(ids).size).toBe(4);
  });

  it('differs for two addresses that lead to one target, and not by what earlier hops noted', () => {
    const to = (address: string, earlier = 'x@example.org') =>
      message(`Delivered-To: ${address}\r\n${hop('AAAA', 'x')}Delivered-To: ${earlier}\r\n${hop('MX1', 'x')}`);
    expect(deliveryId('u.0', to('a@example.org'))).not.toBe(deliveryId('u.0', to('b@example.org')));
    expect([to('a+x@example.org'), to('b@example.org')].map(writtenTo)).toEqual(['a+x@example.org', 'b@example.org']);
    expect(writtenTo(message(`${hop('AAAA', 'x')}Delivered-To: x@example.org\r\n${hop('MX1', 'x')}`))).toBeUndefined();
  });

  it('covers everything when there is one Received header or none', () => {
    const one = (id: string) => Buffer.from(`${hop(id, 'x')}Subject: x\r\n\r\nx`);
    expect(deliveryId('u.0', one('A'))).not.toBe(deliveryId('u.0', one('B')));
    expect(deliveryId('u.0', Buffer.from('Subject: x\r\n\r\nReceived: a\r\nReceived: b'))).not.toBe(
      deliveryId('u.0', Buffer.from('Subject: y\r\n\r\nReceived: a\r\nReceived: b')),
    );
  });

  it('does not take long for hostile headers', () => {
    const hostile = Buffer.from(`${'Received: '.repeat(20_000)}${'Received:\r\n '.repeat(20_000)}\r\n\r\n`);
    const started = Date.now();
    deliveryId('u.0', hostile);
    expect(Date.now() - started).toBeLessThan(500);
  });
});

it('reads when the last hop took the message', () => {
  const date = queuedAt(message(hop('A', 'Tue, 24 Nov 2026 13:00:00 +0000 (UTC)')));
  expect(date?.toISOString()).toBe('2026-11-24T13:00:00.000Z');
  expect(queuedAt(message(hop('A', 'yesterday')))).toBeUndefined();
  expect(queuedAt(Buffer.from('Subject: x\r\n\r\n'))).toBeUndefined();
});

it('makes one printable line of anything', () => {
  expect(bounced('5.3.0', 'a\r\n250 2.0.0 forged\u0000é').text).toBe('5.3.0 a 250 2.0.0 forged');
  expect(printable('x'.repeat(500))).toHaveLength(200);
});
