import { z } from 'zod';

const conditionSchema = z
  .object({
    type: z.string().max(316).describe('What the condition is about, for example Ready.'),
    status: z.enum(['True', 'False', 'Unknown']).describe('Whether it is so.'),
    reason: z
      .string()
      .min(1)
      .max(1024)
      .regex(/^[A-Za-z](?:[A-Za-z0-9_,:]*[A-Za-z0-9_])?$/)
      .describe('Why, as one CamelCase word for programs. The words are constant.'),
    message: z
      .string()
      .max(32768)
      .describe('Why, for people: what is wrong, where, and what to do. Empty when there is nothing to say.'),
    lastTransitionTime: z
      .string()
      .meta({ format: 'date-time' })
      .describe('When the status last changed from one of True, False and Unknown to another.'),
    observedGeneration: z
      .int()
      .min(0)
      .optional()
      .describe('metadata.generation that the condition was computed from. Smaller than the current one: out of date.'),
  })
  .describe('One aspect of the state.');

/** A status condition in the standard shape (metav1.Condition). */
export type Condition = z.output<typeof conditionSchema>;

/** `status.conditions` of every kind. */
export const conditionsSchema = z
  .array(conditionSchema)
  .optional()
  .meta({
    description:
      'The state, one condition per aspect. Ready sums them up: it is True when what the spec asks for works.',
    'x-kubernetes-list-type': 'map',
    'x-kubernetes-list-map-keys': ['type'],
  });

/** `status.observedGeneration` of every kind. */
export const observedGenerationSchema = z
  .int()
  .min(0)
  .optional()
  .describe('metadata.generation that this status was computed from.');

/** `status.detail` of every kind. */
export const detailSchema = z.string().max(1024).optional().describe('The state in one line, for kubectl get.');

/** Condition type → what it says, and each reason it may have → its meaning. Source of the reference pages. */
export type ConditionDocs = Readonly<
  Record<string, { readonly description: string; readonly reasons: Readonly<Record<string, string>> }>
>;
