import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { kindDefinitions } from '../crds/kinds.js';

const operator = join(import.meta.dirname, '..', 'operator');

const sources = readdirSync(operator, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.ts') && !/\.test\.ts$|(^|\/)testing\//.test(path))
  .map((path) => ({ path, text: readFileSync(join(operator, path), 'utf8') }));

const documented = Object.entries(kindDefinitions).flatMap(([kind, { conditions }]) =>
  Object.entries(conditions).flatMap(([type, { reasons }]) =>
    Object.keys(reasons).map((reason) => ({ kind, type, reason })),
  ),
);

describe('reference pages', () => {
  it.each(documented)('$kind: $type for the reason $reason is something that the operator says', ({ type, reason }) => {
    const all = sources.map(({ text }) => text).join('\n');
    for (const word of [type, reason]) expect(all).toMatch(new RegExp(`'${word}'|\\b${word}:`));
  });

  it.each(['forwardrule', 'mailbox', 'mailboxmove', 'maildomain', 'mailsystem'])(
    'have every reason that operator/%s gives',
    (folder) => {
      const known = new Set(documented.map(({ reason }) => reason));
      const given = sources
        .filter(({ path }) => path.startsWith(`${folder}/`))
        .flatMap(({ path, text }) =>
          [...text.matchAll(/\breason: '([A-Z]\w+)'/g)].map(([, reason]) => ({ path, reason })),
        );
      expect(given.length).toBeGreaterThan(0);
      expect(given.filter(({ reason }) => !known.has(reason ?? ''))).toEqual([]);
    },
  );
});
