import { type DestinationStream, type Logger, pino, stdSerializers } from 'pino';

/** The logger that the whole runtime takes. */
export type Log = Logger;

export interface LogOptions {
  name?: string | undefined;
  /** pino's levels: trace, debug, info, warn, error, fatal, silent. Default `info`. */
  level?: string | undefined;
  /** Where lines go; default standard output. */
  destination?: DestinationStream | undefined;
}

const secretFields = [
  'password',
  'passphrase',
  'token',
  'authorization',
  'Authorization',
  'data',
  'stringData',
  'tls.key',
  'privateKey',
  'connectionString',
];

/** Both the field itself and the field one or two levels down; deeper structures must not be logged at all. */
function redactionPaths(): string[] {
  return secretFields.map(quote).flatMap((field) => [field.top, `*${field.nested}`, `*.*${field.nested}`]);
}

function quote(field: string): { top: string; nested: string } {
  return /^[A-Za-z]+$/.test(field)
    ? { top: field, nested: `.${field}` }
    : { top: `["${field}"]`, nested: `["${field}"]` };
}

/** One JSON line per record. Fields that usually hold secrets are replaced by `[redacted]`, whoever logs them. */
export function createLog({ name, level = 'info', destination }: LogOptions = {}): Log {
  const options = {
    ...(name === undefined ? {} : { name }),
    level,
    redact: { paths: redactionPaths(), censor: '[redacted]' },
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label: string) => ({ level: label }) },
    serializers: { err: serializeError },
  };
  return destination === undefined ? pino(options) : pino(options, destination);
}

/** A logger that says nothing: the default of functions that take an optional one. */
export const silentLog: Log = pino({ level: 'silent' });

function serializeError(error: unknown): unknown {
  if (!(error instanceof Error)) return { message: String(error) };
  const { type, message, stack } = stdSerializers.err(error);
  const status = 'status' in error ? { status: error.status } : {};
  const reason = 'reason' in error ? { reason: error.reason } : {};
  return { type, message, stack, ...status, ...reason };
}
