/** CLOCK_MONOTONIC, ms: the clock on which deadlines are counted, here and in the watchdog. */
export function monotonic(): number {
  return Number(process.hrtime.bigint() / 1_000_000n);
}
