import { mkdtemp, rename, rm, symlink, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { silentLog } from '../../operator/runtime/log.js';
import type { TlsMaterial } from './directory.js';
import { type TlsWatch, watchTls } from './tls.js';

let root: string;
let watch: TlsWatch | undefined;

/** As the kubelet does it: a new folder, and a link that is swapped. */
async function mount(name: string): Promise<void> {
  const folder = await mkdtemp(join(root, 'data-'));
  for (const file of ['ca.crt', 'tls.crt', 'tls.key']) await writeFile(join(folder, file), `${name} ${file}`);
  await symlink(folder, join(root, 'tls.new'));
  await rename(join(root, 'tls.new'), join(root, 'tls'));
}

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'posthorn-tls-'));
});

afterEach(async () => {
  watch?.stop();
  await rm(root, { recursive: true });
});

it('tells of a new certificate, once, and keeps the last good one', async () => {
  await mount('first');
  const changes: TlsMaterial[] = [];
  watch = await watchTls(join(root, 'tls'), { log: silentLog, onChange: (next) => changes.push(next), intervalMs: 10 });
  expect(watch.current().cert).toBe('first tls.crt');
  await mount('second');
  await vi.waitFor(() =>
    expect(changes).toEqual([{ ca: 'second ca.crt', cert: 'second tls.crt', key: 'second tls.key' }]),
  );
  await unlink(join(root, 'tls'));
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(watch.current().cert).toBe('second tls.crt');
  await mount('second');
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(changes).toHaveLength(1);
});

it('does not start without one', async () => {
  await expect(watchTls(join(root, 'none'), { log: silentLog, onChange: () => undefined })).rejects.toThrow(/ENOENT/);
});
