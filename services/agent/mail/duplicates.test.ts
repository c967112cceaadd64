import { describe, expect, it } from 'vitest';
import { type Candidate, duplicates, returned } from './duplicates.js';

const message = (id: string, guid: string, folder = 'INBOX', touched = 0): Candidate => ({
  id,
  guid,
  folder,
  uid: guid,
  touched,
  plain: folder === 'INBOX' && touched === 0,
});
/** A GUID names its delivery by its first letter. */
const found = async (...messages: Candidate[]): Promise<string[]> =>
  (await duplicates(messages, async ({ guid }) => (guid.startsWith('?') ? '' : (guid[0] ?? '')))).map(
    ({ guid, folder }) => `${folder} ${guid}`,
  );

describe('duplicates', () => {
  it('are messages of one id from two deliveries; the lower GUID stays', async () => {
    expect(await found(message('x', 'b1'), message('x', 'a1'), message('y', 'c1'))).toEqual(['INBOX b1']);
  });

  it('are not copies, nor uploaded ones', async () => {
    expect(await found(message('x', 'a1'), message('x', 'a1', 'Kept'), message('x', 'a2', 'Archive'))).toEqual([]);
  });

  it('go with all their copies', async () => {
    const untouched = [message('x', 'a1'), message('x', 'a1', 'Copies')];
    expect(await found(...untouched, message('x', 'b1', 'Kept', 100))).toEqual(['INBOX a1', 'Copies a1']);
  });

  it('are those with which the person did less', async () => {
    expect(await found(message('x', 'a1', 'INBOX', 0), message('x', 'b1', 'INBOX', 1))).toEqual(['INBOX a1']);
  });

  it('are none when nobody can tell', async () => {
    expect(await found(message('x', '?1'), message('x', 'a1'))).toEqual([]);
  });

  it('can be three', async () => {
    expect(await found(message('x', 'c1'), message('x', 'a1'), message('x', 'b1'))).toEqual(['INBOX b1', 'INBOX c1']);
  });
});

describe('what came back', () => {
  const twins = [{ id: 'x', guid: 'ours' }];
  const back = (...messages: Candidate[]): string[] => returned(messages, twins).map(({ guid }) => guid);

  it('goes when the one that was delivered here is gone', () => {
    expect(back(message('x', 'theirs'), message('y', 'other'))).toEqual(['theirs']);
  });

  it('is a duplicate when ours is still there, wherever', () => {
    expect(back(message('x', 'theirs'), message('x', 'ours', 'Kept'))).toEqual([]);
  });

  it('stays when somebody has done something with it there', () => {
    expect(back(message('x', 'theirs', 'Archive'))).toEqual([]);
    expect(back(message('x', 'theirs'), message('x', 'theirs', 'Archive'))).toEqual([]);
    expect(back(message('x', 'theirs', 'INBOX', 1))).toEqual([]);
  });

  it('is nothing where nothing was delivered again', () => {
    expect(returned([message('x', 'theirs')], [])).toEqual([]);
  });
});
