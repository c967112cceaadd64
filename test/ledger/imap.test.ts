import { expect, test } from 'vitest';
import { takeLine } from './imap.js';

test('an answer ends at a line end outside of its literals', () => {
  expect(takeLine('* OK ready\r\nt1 OK\r\n')).toBe('* OK ready');
  expect(takeLine('* OK rea')).toBeUndefined();
  const literal = '* 1 FETCH (UID 4 BODY[HEADER] {15}\r\nMessage-ID: <\r\n)';
  expect(takeLine(`${literal}\r\nt1 OK\r\n`)).toBe(literal);
  expect(takeLine('* 1 FETCH (BODY[HEADER] {20}\r\nMess\r\n')).toBeUndefined();
  expect(takeLine('* 1 FETCH (BODY[HEADER] {0}\r\n FLAGS ())\r\n')).toBe('* 1 FETCH (BODY[HEADER] {0}\r\n FLAGS ())');
});
