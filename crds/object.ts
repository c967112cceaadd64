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
 * Fills in the defaults of a spec.
 *
 * @throws Error that names every field that is wrong
 */
export function parseSpec<S extends z.ZodType>(kind: KindName, schema: S, spec: unknown): z.output<S> {
  const result = schema.safeParse(spec);
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) => `${['spec', ...issue.path].join('.')}: ${issue.message}`);
  throw new Error(`${kind} is invalid: ${problems.join('; ')}`);
}
