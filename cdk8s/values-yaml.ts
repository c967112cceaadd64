import { stringify } from 'yaml';
import type { z } from 'zod';

/**
 * `values.yaml` from the schema of the values: every default, with its description above it.
 * Only objects, descriptions and defaults are needed here; the rest of the schema goes into `values.schema.json`.
 */
export function valuesYaml(schema: z.ZodObject): string {
  return [
    '# Values of the Posthorn operator. Helm refuses what values.schema.json does not allow.',
    ...objectLines(schema, schema.parse({}) as Record<string, unknown>, ''),
    '',
  ].join('\n');
}

function objectLines(schema: z.ZodObject, values: Record<string, unknown>, indent: string): string[] {
  return Object.entries(schema.shape).flatMap(([key, field]) => {
    const value = values[key];
    const description = (field as z.ZodType).description;
    if (!description) throw new Error(`values.yaml: ${key} has no description`);
    const comment = `${indent}# ${description}`;
    const nested = unwrapObject(field as z.ZodType);
    const gap = indent === '' ? [''] : [];
    if (nested)
      return [
        ...gap,
        comment,
        `${indent}${key}:`,
        ...objectLines(nested, value as Record<string, unknown>, `${indent}  `),
      ];
    const lines = stringify({ [key]: value }, { lineWidth: 0 })
      .trimEnd()
      .split('\n');
    return [...gap, comment, ...lines.map((line) => indent + line)];
  });
}

/** The object schema inside a field with `prefault({})`: a group of values, documented one by one. */
function unwrapObject(field: z.ZodType): z.ZodObject | undefined {
  const { type, innerType } = field.def as { type: string; innerType?: z.ZodType };
  return type === 'prefault' && innerType?.type === 'object' ? (innerType as z.ZodObject) : undefined;
}
