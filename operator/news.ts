import { isDeepStrictEqual } from 'node:util';
import { isPaused } from './runtime/controller.js';
import type { KubeObject } from './runtime/object.js';
import type { InformerEvent } from './runtime/store.js';

/** Whether a person has changed something: our own writes (status, finalizers) come back as events too. */
export function isNews({ type, object, previous }: InformerEvent<KubeObject>): boolean {
  return type !== 'updated' || isNewGeneration(object, previous) || isPaused(object) !== wasPaused(previous);
}

/** Whether the specification has changed, the object has come or gone, or is to go. */
export function isNewGeneration(object: KubeObject, previous: KubeObject | undefined): boolean {
  return previous?.metadata.generation !== object.metadata.generation;
}

/** Whether two versions of an object differ in nothing that we keep of it. */
export function isSame(object: KubeObject, previous: KubeObject | undefined): boolean {
  return previous !== undefined && isDeepStrictEqual(unversioned(object), unversioned(previous));
}

/** Whether a child of a MailSystem may be other than it was applied: anything but its status has changed, or it is gone. */
export function isDrift({ type, object, previous }: InformerEvent<KubeObject>): boolean {
  if (type !== 'updated' || previous === undefined) return true;
  return !isDeepStrictEqual(declared(object), declared(previous));
}

function wasPaused(object: KubeObject | undefined): boolean {
  return object !== undefined && isPaused(object);
}

function unversioned(object: KubeObject): object {
  return { ...object, metadata: { ...object.metadata, resourceVersion: undefined } };
}

function declared(object: KubeObject): object {
  return { ...unversioned(object), status: undefined };
}
