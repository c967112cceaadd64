import type { z } from 'zod';
import type { API_VERSION, KindName } from './group.js';

/** The parts of an object's metadata that we read. Times are RFC 3339 strings, as the API sends them. */
export interface Metadata {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly generation?: number;
  readonly resourceVersion?: string;
  readonly creationTimestamp?: string;
  readonly deletionTimestamp?: string;
  readonly finalizers?: string[];
  readonly labels?: Record<string, string>;
  readonly annotations?: Record<string, string>;
}

/** An object of one of our kinds as the API server stores it: defaults are not filled in. */
export interface ObjectOf<Kind extends KindName, Spec, Status> {
  readonly apiVersion: typeof API_VERSION;
  readonly kind: Kind;
  readonly metadata: Metadata;
  readonly spec: Spec;
  readonly status?: Status;
}

/**
 * Parses an object or, with `path`, a part of one; fills in defaults.
 *
 * @throws Error that names every field that is wrong
 */
export function parseObject<S extends z.ZodType>(
  kind: KindName,
  schema: S,
  value: unknown,
  ...path: string[]
): z.output<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) => `${fieldPath([...path, ...issue.path])}: ${issue.message}`);
  throw new Error(`${kind} is invalid: ${problems.join('; ')}`);
}

/** As the API server writes it: `spec.aliases[0]`. */
function fieldPath(steps: readonly PropertyKey[]): string {
  return steps
    .map((step) => (typeof step === 'number' ? `[${step}]` : `.${String(step)}`))
    .join('')
    .slice(1);
}
