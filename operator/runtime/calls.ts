/** Options of the client's verbs, and how they become HTTP requests. */
import { ApiError, errorOfResponse } from './errors.js';
import { apiVersionOf, collectionPath, type ObjectRef, objectPath, type ResourceType, refKey } from './object.js';
import type { HttpRequest, HttpResponse } from './transport.js';

export interface CallOptions {
  signal?: AbortSignal | undefined;
  timeoutMs?: number | undefined;
  /** Own sockets, no limit, no fence. Only for what must not wait behind other requests: leases. */
  urgent?: boolean | undefined;
}

export interface SelectOptions extends CallOptions {
  /** Without it, all namespaces. */
  namespace?: string | undefined;
  labelSelector?: string | undefined;
  fieldSelector?: string | undefined;
  /** Only `metadata` is sent (PartialObjectMetadata): for kinds whose contents are large or secret. */
  metadataOnly?: boolean | undefined;
}

export interface ListOptions extends SelectOptions {
  /** Objects per request, default 500. */
  pageSize?: number | undefined;
}

export interface WatchOptions extends SelectOptions {
  /** Where to go on from: of a list, an event or a bookmark. */
  resourceVersion: string;
  /** When the server ends the watch; default 5 to 10 minutes, at random. */
  timeoutSeconds?: number | undefined;
}

export interface WriteOptions extends CallOptions {
  fieldManager: string;
}

export interface ApplyOptions extends WriteOptions {
  /** Take fields over from other managers; default true, as controllers should. */
  force?: boolean | undefined;
  subresource?: string | undefined;
  dryRun?: boolean | undefined;
}

export interface DeleteOptions extends CallOptions {
  /** Delete only this incarnation. */
  uid?: string | undefined;
  /** Delete only in this state. */
  resourceVersion?: string | undefined;
  propagation?: 'Background' | 'Foreground' | 'Orphan' | undefined;
  gracePeriodSeconds?: number | undefined;
}

export const metadataList = 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1';
export const metadataObject = 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1';

/** One request in the terms of Kubernetes. */
export interface Call extends CallOptions {
  method: string;
  path: string;
  verb: string;
  /** For errors. */
  object: string;
  /** For metrics. */
  resource: string;
  idempotent: boolean;
  query?: Record<string, string | number | boolean | undefined>;
  body?: object | undefined;
  contentType?: string | undefined;
  accept?: string | undefined;
}

/** The HTTP request of a call. */
export function requestOf(call: Call, timeoutMs: number): HttpRequest {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(call.query ?? {})) if (value !== undefined) query.set(name, String(value));
  const search = query.toString();
  const { method, verb, object, contentType, accept, signal, urgent } = call;
  return {
    method,
    verb,
    object,
    contentType,
    accept,
    signal,
    urgent,
    path: search === '' ? call.path : `${call.path}?${search}`,
    body: call.body === undefined ? undefined : JSON.stringify(call.body),
    timeoutMs: call.timeoutMs ?? timeoutMs,
  };
}

/** Path and names of a call on one object. */
export function on(
  type: ResourceType,
  ref: ObjectRef,
  subresource?: string,
): { path: string; object: string; resource: string } {
  return { path: objectPath(type, ref, subresource), object: `${type.kind} ${refKey(ref)}`, resource: type.plural };
}

/** Path and names of a call on a collection. */
export function across(
  type: ResourceType,
  { namespace, signal, timeoutMs, urgent }: SelectOptions,
): Pick<Call, 'path' | 'object' | 'resource'> & CallOptions {
  const scope = namespace === undefined ? '' : ` in ${namespace}`;
  return {
    path: collectionPath(type, namespace),
    object: `${type.plural}${scope}`,
    resource: type.plural,
    signal,
    timeoutMs,
    urgent,
  };
}

/** The query of a selection. */
export function selectors({ labelSelector, fieldSelector }: SelectOptions): Record<string, string | undefined> {
  return { labelSelector, fieldSelector };
}

/** The options and query of a write. */
export function writeCall({ fieldManager, ...call }: WriteOptions): CallOptions & { query: Record<string, string> } {
  return { ...call, query: { fieldManager } };
}

/** The two fields that say what an object is. */
export function kindOf(type: ResourceType): { apiVersion: string; kind: string } {
  return { apiVersion: apiVersionOf(type), kind: type.kind };
}

/** The error of an answer with a failure status. */
export function failure(call: Call, { status, headers, body }: HttpResponse): ApiError {
  const { verb, object } = call;
  return errorOfResponse(
    { status, retryAfter: headers['retry-after'], body },
    { verb, object, secret: call.resource === 'secrets' },
  );
}

/** The error of a write that the fence refuses. */
export function notLeader({ verb, object }: Call): ApiError {
  return new ApiError({
    status: 0,
    reason: 'NotLeader',
    message: 'this process is no longer the leader',
    verb,
    object,
  });
}
