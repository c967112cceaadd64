import type { setValidateFunc } from '@kubernetes-models/base';
import { z } from 'zod';
import { API_VERSION, type KindName } from './group.js';
import { kindDefinitions } from './kinds.js';
import { parseObject } from './object.js';

type ValidateFunc<T> = Parameters<typeof setValidateFunc<T>>[1];

/** Schema of whole objects of a kind. Only what a client may write is looked at closely. */
export function objectSchema(kind: KindName): z.ZodType {
  const { spec, specOptional, status } = kindDefinitions[kind];
  return z.object({
    apiVersion: z.literal(API_VERSION),
    kind: z.literal(kind),
    metadata: z.looseObject({}).optional(),
    spec: specOptional ? spec.optional() : spec,
    status: status.optional(),
  });
}

/**
 * The check of a kind in the shape that models of @kubernetes-models/base take. It throws by itself, naming each bad
 * field, since for errors that are returned that package puts its own words in the place of ours.
 */
export function validator<T>(kind: KindName): ValidateFunc<T> {
  const schema = objectSchema(kind);
  return (data): data is T => {
    parseObject(kind, schema, data);
    return true;
  };
}
