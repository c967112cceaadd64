import { z } from 'zod';
import type { Rule } from '../fields.js';

/** JSON schema as zod writes it, with our metadata: the input of every generator. */
export interface SchemaNode {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly required?: readonly string[];
  readonly items?: SchemaNode;
  readonly enum?: readonly (string | number)[];
  readonly pattern?: string;
  readonly patternMessage?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly format?: string;
  readonly 'x-kubernetes-validations'?: readonly Rule[];
  readonly 'x-kubernetes-list-type'?: 'atomic' | 'set' | 'map';
  readonly 'x-kubernetes-list-map-keys'?: readonly string[];
}

/** A schema as people write objects: before defaults are filled in. */
export function jsonSchema(schema: z.ZodType): SchemaNode {
  return z.toJSONSchema(schema, { target: 'openapi-3.0', io: 'input', cycles: 'throw' }) as SchemaNode;
}

const COPIED = [
  'type',
  'enum',
  'minimum',
  'maximum',
  'minLength',
  'maxLength',
  'minItems',
  'maxItems',
  'format',
  'required',
  'x-kubernetes-list-type',
  'x-kubernetes-list-map-keys',
] as const;

const HANDLED = new Set<string>([
  ...COPIED,
  'description',
  'default',
  'properties',
  'items',
  'pattern',
  'patternMessage',
  'x-kubernetes-validations',
]);

const TYPES = new Set(['object', 'array', 'string', 'integer', 'number', 'boolean']);

type Structural = Record<string, unknown>;

/**
 * The structural OpenAPI schema that a CRD takes.
 * https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
 *
 * Defaults are left out: they are filled in by code, so that what is stored is what was written. A pattern with a message
 * becomes a CEL rule, because only rules have messages.
 *
 * @param path of the schema, for errors
 * @throws Error for anything that is not structural, has no description, or is a list without a merge rule
 */
export function structural(schema: SchemaNode, path: string): Structural {
  refuse(schema, path);
  const result: Structural = {};
  for (const key of COPIED) {
    if (schema[key] !== undefined) result[key] = schema[key];
  }
  if (schema.description !== undefined) result.description = describe(schema);
  if (schema.enum?.every(Number.isInteger)) result.type = 'integer';
  if (result.type === 'integer') boundInteger(result);
  if (schema.properties !== undefined) result.properties = structuralProperties(schema.properties, path);
  if (schema.items !== undefined) result.items = structural(schema.items, `${path}[]`);
  return { ...result, ...patternOrRules(schema) };
}

/** The description, with the default at its end unless it is told already: `kubectl explain` has no other place for it. */
export function describe({ description = '', default: value, type }: SchemaNode): string {
  if (value === undefined || type === 'object' || description.includes('Default:')) return description;
  const none = Array.isArray(value) && value.length === 0;
  return `${description} Default: ${none ? 'none' : value}.`;
}

function refuse(schema: SchemaNode, path: string): void {
  const unknown = Object.keys(schema).filter((key) => !HANDLED.has(key));
  if (unknown.length > 0) throw new Error(`${path}: ${unknown.join(', ')} can not be in a structural schema`);
  if (!TYPES.has(schema.type ?? '')) throw new Error(`${path}: type ${schema.type} is not one of ${[...TYPES]}`);
  if ((schema.type === 'object') !== (schema.properties !== undefined)) {
    throw new Error(`${path}: an object, and nothing else, has properties`);
  }
  if ((schema.type === 'array') !== (schema['x-kubernetes-list-type'] !== undefined)) {
    throw new Error(`${path}: a list, and nothing else, says how it merges (x-kubernetes-list-type)`);
  }
  if (schema.pattern !== undefined) new RegExp(schema.pattern);
}

function structuralProperties(properties: Readonly<Record<string, SchemaNode>>, path: string): Structural {
  return Object.fromEntries(
    Object.entries(properties).map(([name, property]) => {
      if (!property.description) throw new Error(`${path}.${name}: has no description`);
      return [name, structural(property, `${path}.${name}`)];
    }),
  );
}

/** zod bounds integers by what a double holds exactly; Kubernetes has formats for sizes of integers. */
function boundInteger(result: Structural): void {
  const bounds = [result.minimum, result.maximum].map(Number);
  const small = bounds.every((bound) => !(Math.abs(bound) > 2 ** 31 - 1));
  result.format = small ? 'int32' : 'int64';
  if (Math.abs(Number(result.minimum)) === Number.MAX_SAFE_INTEGER) delete result.minimum;
  if (result.maximum === Number.MAX_SAFE_INTEGER) delete result.maximum;
}

function patternOrRules(schema: SchemaNode): Structural {
  const { pattern, patternMessage, 'x-kubernetes-validations': rules = [] } = schema;
  const all = patternMessage === undefined ? rules : [patternRule(pattern ?? '', patternMessage), ...rules];
  return {
    ...(pattern !== undefined && patternMessage === undefined ? { pattern } : {}),
    ...(all.length > 0 ? { 'x-kubernetes-validations': all } : {}),
  };
}

function patternRule(pattern: string, message: string): Rule {
  if (pattern.includes('"')) throw new Error(`the pattern ${pattern} has a quote, which ends a CEL string`);
  return { rule: `self.matches(r"${pattern}")`, message };
}
