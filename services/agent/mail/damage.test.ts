import { describe, expect, it } from 'vitest';
import { isDamaged, type Look } from './damage.js';

const healthy: Look = { known: true, readable: true, messages: 10, files: 10, free: 0.5 };
const look = (more: Partial<Look>): Look => ({ ...healthy, ...more });
const thrice = (more: Partial<Look>): Look[] => [look(more), look(more), look(more)];

describe('a mailbox is damaged', () => {
  it.each([
    ['its files are fewer than its messages', { files: 9, readable: false }],
    ['they are, though doveadm has the names in its cache', { files: 9 }],
    ['it cannot be read', { readable: false }],
    ['its index cannot be asked', { readable: false, messages: undefined }],
  ])('when %s, each time', (_name, more) => {
    expect(isDamaged(thrice(more))).toBe(true);
    expect(isDamaged([...thrice(more), healthy])).toBe(false);
  });

  it.each([
    ['there is nothing wrong', {}],
    ['the directory does not know it, or is away', { known: false, readable: false, messages: undefined }],
    ['the volume is full', { readable: false, free: 0.01 }],
    ['files wait to be removed', { files: 12 }],
  ])('but not when %s', (_name, more) => {
    expect(isDamaged(thrice(more))).toBe(false);
  });

  it('is not known without a look', () => {
    expect(isDamaged([])).toBe(false);
  });
});
