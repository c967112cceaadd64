/** What Kubernetes answers on failure (meta/v1 Status), as far as it is used. */
export interface Status {
  code?: number;
  reason?: string;
  message?: string;
  details?: { retryAfterSeconds?: number; causes?: { reason?: string; message?: string; field?: string }[] };
}

export interface ApiErrorFields {
  /** HTTP status; 0 if no answer came. */
  status: number;
  /** Kubernetes' reason (`NotFound`, `Conflict`, …), or ours: `Timeout`, `ConnectionFailed`, `Aborted`, `NotLeader`. */
  reason: string;
  message: string;
  /** What was being done: `get`, `list`, `apply`, … */
  verb: string;
  /** To what: `Mailbox mail/mallory`. */
  object: string;
  /** The server's wish, in milliseconds. */
  retryAfterMs?: number | undefined;
  cause?: unknown;
}

/** Any failure of a request to the API server. The message never contains the request's body. */
export class ApiError extends Error {
  readonly status: number;
  readonly reason: string;
  readonly verb: string;
  readonly object: string;
  readonly retryAfterMs: number | undefined;

  constructor({ status, reason, message, verb, object, retryAfterMs, cause }: ApiErrorFields) {
    super(`${verb} ${object}: ${message}`, cause === undefined ? undefined : { cause });
    this.name = 'ApiError';
    this.status = status;
    this.reason = reason;
    this.verb = verb;
    this.object = object;
    this.retryAfterMs = retryAfterMs;
  }
}

const hasStatus =
  (status: number) =>
  (error: unknown): error is ApiError =>
    error instanceof ApiError && error.status === status;

/** The object, or the whole resource type, does not exist. */
export const isNotFound = hasStatus(404);

/** The resourceVersion or another precondition no longer holds (`AlreadyExists` is a 409 too, and is not meant). */
export function isConflict(error: unknown): error is ApiError {
  return hasStatus(409)(error) && error.reason !== 'AlreadyExists';
}

export function isAlreadyExists(error: unknown): error is ApiError {
  return hasStatus(409)(error) && error.reason === 'AlreadyExists';
}

/** The resourceVersion or continue token is too old: list again. */
export const isGone = hasStatus(410);

/** The API server rejects the object as it is (schema, CEL, admission); trying again is of no use. */
export const isInvalid = hasStatus(422);

/** Builds the error for an answer with a failure status. `secret` keeps the server's words out, since they may quote the object. */
export function errorOfResponse(
  answer: { status: number; retryAfter?: string | undefined; body: string },
  context: { verb: string; object: string; secret: boolean },
): ApiError {
  const status = parseStatus(answer.body);
  const reason = status.reason ?? `Http${answer.status}`;
  const said = status.message ?? answer.body.slice(0, 200).trim();
  const quotable = !context.secret || answer.status === 404 || answer.status === 409;
  const message = quotable && said !== '' ? said : `${answer.status} ${reason}`;
  const seconds = status.details?.retryAfterSeconds ?? Number.parseInt(answer.retryAfter ?? '', 10);
  const retryAfterMs = Number.isFinite(seconds) ? seconds * 1000 : undefined;
  return new ApiError({
    status: answer.status,
    reason,
    message,
    retryAfterMs,
    verb: context.verb,
    object: context.object,
  });
}

function parseStatus(body: string): Status {
  try {
    const parsed: unknown = JSON.parse(body);
    return typeof parsed === 'object' && parsed !== null ? (parsed as Status) : {};
  } catch {
    return {};
  }
}
