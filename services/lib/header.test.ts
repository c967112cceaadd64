import { describe, expect, it } from 'vitest';
import { receivedAt, withDeliveryId } from './header.js';

const message = (text: string): Buffer => Buffer.from(text.replaceAll('\n', '\r\n'), 'latin1');

describe('a delivery id', () => {
  it('is put on top, and the octets below stay', () => {
    const content = message('Subject: x\n\nbody \u00ff\n');
    const pieces = withDeliveryId(content, 'abc');
    expect(pieces[1]).toBe(content);
    expect(Buffer.concat(pieces).toString('latin1')).toBe('X-Delivery-Id: abc\r\nSubject: x\r\n\r\nbody \u00ff\r\n');
  });

  it('is the only one', () => {
    const content = message(
      'x-delivery-id: forged\n  folded\nA: b\nX-DELIVERY-ID : again\nC: d\n\nX-Delivery-Id: body\n',
    );
    const result = Buffer.concat(withDeliveryId(content, 'abc')).toString();
    expect(result).toBe('X-Delivery-Id: abc\r\nA: b\r\nC: d\r\n\r\nX-Delivery-Id: body\r\n');
  });

  it('replaces one in a message that is nothing but header, and leaves names that only begin so', () => {
    const result = Buffer.concat(withDeliveryId(message('X-Delivery-Id: a\nX-Delivery-Id-2: b\n'), 'c')).toString();
    expect(result).toBe('X-Delivery-Id: c\r\nX-Delivery-Id-2: b\r\n');
  });
});

describe('when the mx took a message', () => {
  it('is the date of the topmost Received', () => {
    const content = message(
      'Return-Path: <a@b>\nReceived: from x (x [192.0.2.1])\n\tby mx (Posthorn) with ESMTPS id 4c;\n\tTue, 24 Nov 2026 13:00:00 +0100 (CET)\nReceived: from y; Tue, 24 Nov 2020 13:00:00 +0000\n\nx\n',
    );
    expect(receivedAt(content)).toBe(Date.parse('2026-11-24T12:00:00Z'));
  });

  it.each([
    ['no such field', 'A: b\n\nReceived: x; Tue, 24 Nov 2026 13:00:00 +0000\n'],
    ['no date', 'Received: from x by y\n\n'],
    ['nonsense', 'Received: x; yesterday\n\n'],
    ['nothing', ''],
  ])('is unknown with %s', (_name, text) => {
    expect(receivedAt(message(text))).toBeUndefined();
  });
});
