import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { parse } from 'yaml';
import { gatekeeperConfig } from '../config.js';
import { judgeConduct } from './conduct.js';

const file = new URL('../../../images/posthorn/config/gatekeeper/gatekeeper.yaml', import.meta.url);
const written = parse(readFileSync(file, 'utf8').replace(/@\w+@/g, '1')).conduct;
const limits = gatekeeperConfig.shape.conduct.parse(undefined);

/** Without history. */
const firstDay = (today: number) => judgeConduct({ usual: { today, earlier: [] } }, limits)?.kind;

it('the configuration says what holds without it', () => {
  expect(written).toEqual(limits);
});

it('an account may write to a few hundred people on its first day, and not to all that it may ever', () => {
  expect(firstDay(500)).toBeUndefined();
  expect(firstDay(501)).toBe('Surge');
});

it('a surge is measured by what is usual', () => {
  const usual = (today: number) => judgeConduct({ usual: { today, earlier: [20, 240] } }, limits)?.kind;
  expect(usual(1200)).toBeUndefined();
  expect(usual(1201)).toBe('Surge');
});
