/**
 * Sizes in bytes, written as Kubernetes quantities (k8s.io/apimachinery/pkg/api/resource): a decimal number and an
 * optional suffix, binary (Ki = 1024) or decimal (k = 1000). Signs, exponents and fractions of a byte (n, u, m)
 * are quantities too, but no sizes, and are refused.
 */

// In ascending order.
const UNITS: ReadonlyMap<string, bigint> = new Map([
  ['', 1n],
  ['k', 1000n],
  ['Ki', 1024n],
  ['M', 1000n ** 2n],
  ['Mi', 1024n ** 2n],
  ['G', 1000n ** 3n],
  ['Gi', 1024n ** 3n],
  ['T', 1000n ** 4n],
  ['Ti', 1024n ** 4n],
  ['P', 1000n ** 5n],
  ['Pi', 1024n ** 5n],
]);

/** What the API server checks (JavaScript and RE2). */
export const QUANTITY_PATTERN = /^[0-9]{1,16}(?:\.[0-9]{1,3})?(?:[kMGTP]|[KMGTP]i)?$/;

/** What is wrong when QUANTITY_PATTERN does not match. */
export const QUANTITY_MESSAGE = 'must be a size such as 500Mi, 10Gi or 1.5Ti (Ki, Mi, Gi, Ti, Pi or k, M, G, T, P)';

const PARTS = /^([0-9]+)(?:\.([0-9]+))?([a-zA-Z]*)$/;

/**
 * Bytes of a quantity, a part of a byte rounded up as Kubernetes does.
 *
 * @returns a safe integer, at most 2^53 - 1 (8 PiB)
 * @throws Error when the text is no size or is too large
 */
export function parseQuantity(text: string): number {
  const parts = QUANTITY_PATTERN.test(text) ? PARTS.exec(text) : null;
  const unit = UNITS.get(parts?.[3] ?? '');
  if (parts === null || unit === undefined) throw invalid(text, QUANTITY_MESSAGE);
  const fraction = parts[2] ?? '';
  const scale = 10n ** BigInt(fraction.length);
  const scaled = BigInt(`${parts[1]}${fraction}`) * unit;
  const bytes = Number((scaled + scale - 1n) / scale);
  if (!Number.isSafeInteger(bytes)) throw invalid(text, 'is larger than 8 PiB, which is more than can be counted');
  return bytes;
}

/**
 * The exact quantity with the largest unit that leaves no remainder.
 *
 * @param bytes a safe integer, 0 or more
 */
export function formatQuantity(bytes: number): string {
  if (!Number.isSafeInteger(bytes) || bytes < 0) {
    throw new Error(`format a size: ${bytes} is not a whole number of bytes between 0 and 2^53 - 1`);
  }
  const exact = [...UNITS].filter(([, unit]) => bytes > 0 && BigInt(bytes) % unit === 0n);
  const [suffix, unit] = exact.at(-1) ?? ['', 1n];
  return `${BigInt(bytes) / unit}${suffix}`;
}

function invalid(text: string, problem: string): Error {
  return new Error(`size ${JSON.stringify(text)} ${problem}`);
}
