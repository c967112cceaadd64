/** Building blocks of the kinds' schemas: each gives the check, its message and the CEL rule for the API server. */
import { z } from 'zod';
import {
  ADDRESS_MAX_LENGTH,
  HOSTED_ADDRESS_MESSAGE,
  HOSTED_ADDRESS_PATTERN,
  LOCAL_MAX_LENGTH,
  TARGET_ADDRESS_MESSAGE,
  TARGET_ADDRESS_PATTERN,
} from './address.js';
import { DOMAIN_MAX_LENGTH, DOMAIN_MESSAGE, DOMAIN_PATTERN } from './domain.js';
import { parseQuantity, QUANTITY_MESSAGE, QUANTITY_PATTERN } from './quantity.js';

/** A CEL rule in a CRD. https://kubernetes.io/docs/reference/using-api/cel/ */
export interface Rule {
  readonly rule: string;
  /** What must hold and what to do about it; the API server puts the field and the value in front. */
  readonly message: string;
  /** Field to blame, relative to where the rule stands. */
  readonly fieldPath?: string;
}

/** Metadata that attaches CEL rules to a schema. */
export function rules(...list: Rule[]): { 'x-kubernetes-validations': Rule[] } {
  return { 'x-kubernetes-validations': list };
}

/**
 * A string with a pattern. The API server's own message for `pattern` prints the expression, so the CRD gets a CEL
 * rule with this message instead (see generate/structural.ts).
 */
export function text(pattern: RegExp, message: string, maxLength: number): z.ZodString {
  return z.string().max(maxLength).regex(pattern, message).meta({ patternMessage: message });
}

/** An address that can be hosted here. */
export function hostedAddress(): z.ZodString {
  return text(HOSTED_ADDRESS_PATTERN, HOSTED_ADDRESS_MESSAGE, ADDRESS_MAX_LENGTH).meta(
    rules({
      rule: `self.indexOf("@") <= ${LOCAL_MAX_LENGTH}`,
      message: `must have at most ${LOCAL_MAX_LENGTH} characters before the @`,
    }),
  );
}

/** An address anywhere that mail may be forwarded to. */
export function targetAddress(): z.ZodString {
  return text(TARGET_ADDRESS_PATTERN, TARGET_ADDRESS_MESSAGE, ADDRESS_MAX_LENGTH).meta(
    rules(
      {
        rule: `self.indexOf("@") <= ${LOCAL_MAX_LENGTH}`,
        message: `must have at most ${LOCAL_MAX_LENGTH} characters before the @`,
      },
      {
        // The operator refuses these again, in their canonical form, and what is inside this cluster.
        rule: String.raw`!self.lowerAscii().matches(r"\.(?:invalid|localhost)$")`,
        message: 'must be in a domain that exists: nothing is below .invalid and .localhost (RFC 6761)',
      },
    ),
  );
}

/** A domain, in Unicode or A-labels. */
export function domain(): z.ZodString {
  return text(DOMAIN_PATTERN, DOMAIN_MESSAGE, DOMAIN_MAX_LENGTH);
}

/** A size in bytes as a Kubernetes quantity, within bounds (quantities too, inclusive). */
export function size(min: string, max: string): z.ZodString {
  const message = `must be from ${min} to ${max}`;
  return text(QUANTITY_PATTERN, QUANTITY_MESSAGE, 20)
    .refine((value) => !QUANTITY_PATTERN.test(value) || isBetween(value, min, max), message)
    .meta(
      rules({
        rule:
          `!isQuantity(self) || (quantity(self).compareTo(quantity("${min}")) >= 0` +
          ` && quantity(self).compareTo(quantity("${max}")) <= 0)`,
        message,
      }),
    );
}

function isBetween(value: string, min: string, max: string): boolean {
  const bytes = parseQuantity(value);
  return bytes >= parseQuantity(min) && bytes <= parseQuantity(max);
}

/** A whole number in a range of 32-bit integers. */
export function count(min: number, max: number): z.ZodInt {
  return z.int().min(min).max(max);
}

/** Name of a Kubernetes object (RFC 1123 subdomain). */
export function objectName(): z.ZodString {
  return text(
    /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/,
    'must be the name of an object: lower-case letters, digits, "-" and "."',
    253,
  ).min(1);
}

/** StorageClass of a volume. */
export function storageClassName(): z.ZodOptional<z.ZodString> {
  return objectName()
    .optional()
    .describe("StorageClass of the volumes. Default: the cluster's default class. Can't be changed.");
}

/** Rule for a schema above `path`: a size that may grow but not shrink, unset meaning `fallback`. */
export function neverShrinks(path: string, fallback: string): Rule {
  const [now, before] = [valueOr('self', path, `"${fallback}"`), valueOr('oldSelf', path, `"${fallback}"`)];
  return {
    rule: `!isQuantity(${now}) || !isQuantity(${before}) || quantity(${now}).compareTo(quantity(${before})) >= 0`,
    message: `volumes can grow but not shrink: give at least the present size (unset means ${fallback})`,
    fieldPath: `.${path}`,
  };
}

/** Rule for a schema above `path`: a string that can't be set, changed or removed after creation. */
export function immutable(path: string, message: string): Rule {
  return {
    rule: `${valueOr('self', path, '""')} == ${valueOr('oldSelf', path, '""')}`,
    message,
    fieldPath: `.${path}`,
  };
}

/** CEL: whether `object.path` is there. */
export function present(object: string, path: string): string {
  const steps = path.split('.');
  return steps.map((_, index) => `has(${[object, ...steps.slice(0, index + 1)].join('.')})`).join(' && ');
}

/** CEL: `object.path`, or `fallback` if it isn't there. `.?` and `orValue` would do, but the API server can't tell their cost. */
export function valueOr(object: string, path: string, fallback: string): string {
  return `(${present(object, path)} ? ${object}.${path} : ${fallback})`;
}
