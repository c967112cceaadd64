export interface BenchOptions {
  /** Size: applies, Mailboxes or messages. */
  n: number;
  log: (text: string) => void;
}

/** What a benchmark says in the end. */
export interface BenchResult {
  name: string;
  /** The bounded figure: p99 for latencies. */
  value: number;
  unit: 's' | 'ms' | '/s' | 'MiB';
  /** The same figure of the reference. */
  reference: number;
  /** What must hold, each with whether it did. */
  bounds: { what: string; met: boolean }[];
  /** All else that was measured; every number's name ends with its unit. */
  details: Record<string, unknown>;
}

/** The contract's last line: `NAME value unit (vs REFERENCE value, ratio r)`. */
export function resultLine({ name, value, unit, reference }: BenchResult): string {
  return `${name} ${figure(value)} ${unit} (vs REFERENCE ${figure(reference)}, ratio ${(value / reference).toFixed(2)})`;
}

/** Three significant digits, never an exponent. */
export function figure(value: number): string {
  if (value === 0 || !Number.isFinite(value)) return String(value);
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(digits, 6));
}

/**
 * The nearest-rank percentile: the least value that `p` percent of all are not above.
 * @param p above 0, at most 100
 * @throws RangeError when there are no values
 */
export function percentile(values: readonly number[], p: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const value = sorted[Math.max(0, Math.ceil((p / 100) * sorted.length) - 1)];
  if (value === undefined) throw new RangeError(`percentile ${p} of no values`);
  return value;
}

/** p50, p90, p99, least and most, in whole milliseconds. */
export function summary(ms: readonly number[]) {
  const at = (p: number) => Math.round(percentile(ms, p));
  return {
    n: ms.length,
    minMs: Math.round(Math.min(...ms)),
    p50Ms: at(50),
    p90Ms: at(90),
    p99Ms: at(99),
    maxMs: at(100),
  };
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
