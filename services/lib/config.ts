import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { type ZodType, z } from 'zod';

/**
 * A service's configuration: YAML, checked.
 * @throws Error that names the file and each field that is wrong.
 */
export function readConfig<T>(path: string, schema: ZodType<T>): T {
  const result = schema.safeParse(parse(readFileSync(path, 'utf8')));
  if (!result.success) throw new Error(`${path}: ${z.prettifyError(result.error)}`);
  return result.data;
}
