import type { z } from 'zod';
import { text } from './fields.js';

const DATE = '[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])';
const TIME = '(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9])?(?:Z|[+-][0-9]{2}:[0-5][0-9])';

const TIMESTAMP_PATTERN = new RegExp(`^${DATE}T${TIME}$`);
const TIMESTAMP_MESSAGE = 'must be a time with its zone, such as 2026-12-31T18:00Z or 2026-12-31T18:00:00+01:00';
const DAY_PATTERN = new RegExp(`^${DATE}$`);
const DAY_MESSAGE = 'must be a day such as 2026-12-31';

/** A point in time (RFC 3339; seconds may be left out). */
export function timestamp(): z.ZodString {
  return text(TIMESTAMP_PATTERN, TIMESTAMP_MESSAGE, 25).refine(
    (value) => !TIMESTAMP_PATTERN.test(value) || isDay(value.slice(0, 10)),
    'must be a day that the calendar has',
  );
}

/** A day of the calendar. */
export function day(): z.ZodString {
  return text(DAY_PATTERN, DAY_MESSAGE, 10).refine(
    (value) => !DAY_PATTERN.test(value) || isDay(value),
    'must be a day that the calendar has',
  );
}

/** JavaScript takes the 30th of February for a day in March. */
function isDay(text: string): boolean {
  const time = Date.parse(`${text}T00:00:00Z`);
  return Number.isFinite(time) && new Date(time).toISOString().startsWith(text);
}
