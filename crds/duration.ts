const SECONDS = { d: 86_400, h: 3_600, m: 60, s: 1 } as const;
const UNITS = ['d', 'h', 'm', 's'] as const;

/**
 * What the API server checks (JavaScript and RE2): days, hours, minutes and seconds in this order, each at most once,
 * at least one of them. Like Go's durations, with days and without fractions.
 */
export const DURATION_PATTERN =
  /^(?:[0-9]{1,9}d(?:[0-9]{1,9}h)?(?:[0-9]{1,9}m)?(?:[0-9]{1,9}s)?|[0-9]{1,9}h(?:[0-9]{1,9}m)?(?:[0-9]{1,9}s)?|[0-9]{1,9}m(?:[0-9]{1,9}s)?|[0-9]{1,9}s)$/;

/** What is wrong when DURATION_PATTERN does not match. */
export const DURATION_MESSAGE = 'must be a duration such as 15m, 1h30m or 7d (units d, h, m, s, largest first)';

/**
 * Seconds of a duration.
 *
 * @returns a whole number, 0 or more
 * @throws Error when the text is no duration
 */
export function parseDuration(text: string): number {
  if (!DURATION_PATTERN.test(text)) throw new Error(`duration ${JSON.stringify(text)} ${DURATION_MESSAGE}`);
  let seconds = 0;
  for (const [, count, unit] of text.matchAll(/([0-9]+)([dhms])/g)) {
    seconds += Number(count) * SECONDS[unit as keyof typeof SECONDS];
  }
  return seconds;
}

/**
 * The canonical duration: as many of the largest unit as fit, then of the next; `0s` for nothing.
 *
 * @param seconds a whole number, 0 or more, less than 10^9 days
 */
export function formatDuration(seconds: number): string {
  if (!Number.isSafeInteger(seconds) || seconds < 0 || seconds >= 1e9 * SECONDS.d) {
    throw new Error(`format a duration: ${seconds} is not a whole number of seconds from 0 to 10^9 days`);
  }
  let rest = seconds;
  let text = '';
  for (const unit of UNITS) {
    const count = Math.floor(rest / SECONDS[unit]);
    rest %= SECONDS[unit];
    if (count > 0) text += `${count}${unit}`;
  }
  return text === '' ? '0s' : text;
}
