import { type ZodType, z } from 'zod';

/**
 * JSON of a form that is known.
 * @throws Error that names the fields that are wrong.
 */
export function parseJson<T>(text: string, schema: ZodType<T>): T {
  const result = schema.safeParse(JSON.parse(text));
  if (!result.success) throw new Error(z.prettifyError(result.error));
  return result.data;
}
