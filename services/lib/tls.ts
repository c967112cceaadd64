/** A role's certificate from its mounted Secret, and the news that it has changed. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Log } from '../../operator/runtime/log.js';
import type { TlsMaterial } from './directory.js';

export interface WatchTlsOptions {
  readonly log: Log;
  /** Called with each new certificate, never with the first. */
  readonly onChange: (material: TlsMaterial) => void;
  /** Default 10 s. The kubelet itself takes up to a minute. */
  readonly intervalMs?: number;
}

export interface TlsWatch {
  current(): TlsMaterial;
  stop(): void;
}

/** Reads `ca.crt`, `tls.crt` and `tls.key` of a folder. */
export async function readTls(folder: string): Promise<TlsMaterial> {
  const read = (file: string) => readFile(join(folder, file), 'utf8');
  const [ca, cert, key] = await Promise.all([read('ca.crt'), read('tls.crt'), read('tls.key')]);
  return { ca, cert, key };
}

/**
 * Reads the folder now and again and again: the kubelet swaps a link, which no watch on the files sees.
 * @throws when the folder can't be read at first; later failures are logged and the last good certificate stays.
 */
export async function watchTls(folder: string, options: WatchTlsOptions): Promise<TlsWatch> {
  let current = await readTls(folder);
  const look = async (): Promise<void> => {
    try {
      const next = await readTls(folder);
      if (next.ca === current.ca && next.cert === current.cert && next.key === current.key) return;
      current = next;
      options.log.info({ folder }, 'the certificate has changed');
      options.onChange(next);
    } catch (error) {
      options.log.warn({ folder, err: error }, 'cannot read the certificate; the last one stays in use');
    }
  };
  const timer = setInterval(() => void look(), options.intervalMs ?? 10_000);
  timer.unref();
  return { current: () => current, stop: () => clearInterval(timer) };
}
