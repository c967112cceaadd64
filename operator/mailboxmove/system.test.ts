import { describe, expect, it } from 'vitest';
import type { MailboxMove } from '../../crds/mailboxmove.js';
import type { MailSystem } from '../../crds/mailsystem.js';
import { emptiedShards, systemOfMove } from './system.js';

const move = (spec: object, metadata: object = {}) =>
  ({ metadata: { name: 'm', namespace: 'ns', ...metadata }, spec: { to: 'b', ...spec } }) as unknown as MailboxMove;
const systems = (...names: string[]) => names.map((name) => ({ metadata: { name } }) as unknown as MailSystem);

describe('systemOfMove', () => {
  it('is the one that it names, or the only one', () => {
    expect(systemOfMove(move({}), systems('mail'))).toBe('ns/mail');
    expect(systemOfMove(move({ system: 'two' }), systems('one', 'two'))).toBe('ns/two');
    expect(systemOfMove(move({}), systems('one', 'two'))).toMatchObject({ reason: 'AmbiguousSystem' });
    expect(systemOfMove(move({}), [])).toMatchObject({ reason: 'SystemNotFound' });
    expect(systemOfMove(move({ system: 'x' }), systems('one'))).toMatchObject({ reason: 'SystemNotFound' });
  });
});

describe('emptiedShards', () => {
  it('are those that a MailboxMove empties as long as it exists', () => {
    const all = [
      move({ from: 'a' }),
      move({ from: 'c' }, { deletionTimestamp: 'now' }),
      move({ from: 'd' }, { namespace: 'other' }),
      move({ mailboxes: ['x'] }),
    ];
    expect([...emptiedShards(all, () => systems('mail'), 'ns/mail')]).toEqual(['a']);
    expect([...emptiedShards(all, () => systems('mail'), 'ns/other')]).toEqual([]);
  });
});
