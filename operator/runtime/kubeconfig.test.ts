import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { loadConnection } from './kubeconfig.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'posthorn-kubeconfig-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** Writes a kubeconfig with one cluster and one user. */
async function kubeconfig(name: string, cluster: object, user: object, namespace?: string): Promise<string> {
  const path = join(folder, name);
  const config = {
    'current-context': name,
    clusters: [{ name, cluster: { server: 'https://k8s.test:6443', ...cluster } }],
    users: [{ name, user }],
    contexts: [{ name, context: { cluster: name, user: name, namespace } }],
  };
  await writeFile(path, stringify(config));
  return path;
}

describe('a kubeconfig', () => {
  it('with a token and inline certificates', async () => {
    const data = Buffer.from('CA').toString('base64');
    const path = await kubeconfig(
      'token',
      { 'certificate-authority-data': data, 'tls-server-name': 'other' },
      { token: 't', as: 'somebody' },
      'mail',
    );
    const connection = loadConnection({ path });
    expect([connection.server.host, connection.namespace]).toEqual(['k8s.test:6443', 'mail']);
    expect(await connection.headers()).toEqual({ authorization: 'Bearer t', 'impersonate-user': 'somebody' });
    expect(connection.tls()).toMatchObject({ ca: Buffer.from('CA'), servername: 'other', rejectUnauthorized: true });
  });

  it('with files relative to itself, read anew when they change', async () => {
    for (const [name, content] of [
      ['ca.crt', 'CA'],
      ['me.crt', 'C'],
      ['me.key', 'K'],
    ] as const)
      await writeFile(join(folder, name), content);
    const user = { 'client-certificate': 'me.crt', 'client-key': 'me.key' };
    const connection = loadConnection({
      env: { KUBECONFIG: await kubeconfig('files', { 'certificate-authority': 'ca.crt' }, user) },
    });
    expect(connection.tls()).toMatchObject({ ca: Buffer.from('CA'), cert: Buffer.from('C'), key: Buffer.from('K') });
    expect([await connection.headers(), connection.namespace]).toEqual([{}, 'default']);
    await writeFile(join(folder, 'me.crt'), 'C2');
    expect(connection.tls().cert).toEqual(Buffer.from('C2'));
  });

  it('with a token file, cached until it is refused', async () => {
    await writeFile(join(folder, 'token-file'), 'one\n');
    const connection = loadConnection({ path: await kubeconfig('token-file-config', {}, { tokenFile: 'token-file' }) });
    expect(await connection.headers()).toEqual({ authorization: 'Bearer one' });
    await writeFile(join(folder, 'token-file'), 'two\n');
    expect(await connection.headers()).toEqual({ authorization: 'Bearer one' });
    connection.forget();
    expect(await connection.headers()).toEqual({ authorization: 'Bearer two' });
  });

  it('with a credential plugin', async () => {
    const plugin = join(folder, 'plugin');
    await writeFile(plugin, `#!/bin/sh\necho "{\\"status\\":{\\"token\\":\\"$WHO-$1\\"}}"\n`);
    await chmod(plugin, 0o755);
    const exec = {
      apiVersion: 'client.authentication.k8s.io/v1',
      command: './plugin',
      args: ['x'],
      env: [{ name: 'WHO', value: 'me' }],
    };
    const connection = loadConnection({ path: await kubeconfig('exec', {}, { exec }) });
    expect(await connection.headers()).toEqual({ authorization: 'Bearer me-x' });
  });

  it('from several files, the first that names something wins', async () => {
    const [a, b] = [await kubeconfig('a', {}, { token: 'a' }), await kubeconfig('b', {}, { token: 'b' })];
    const env = { KUBECONFIG: `${a}:/does/not/exist:${b}` };
    expect(await loadConnection({ env }).headers()).toEqual({ authorization: 'Bearer a' });
    expect(await loadConnection({ env, context: 'b' }).headers()).toEqual({ authorization: 'Bearer b' });
  });

  it('that is missing or incomplete is an error which says where', async () => {
    expect(() => loadConnection({ path: '/does/not/exist' })).toThrow('/does/not/exist');
    const path = await kubeconfig('incomplete', {}, { 'auth-provider': { name: 'gcp' } });
    expect(() => loadConnection({ path, context: 'absent' })).toThrow('no context "absent"');
    expect(() => loadConnection({ path })).toThrow('exec plugin');
  });
});
