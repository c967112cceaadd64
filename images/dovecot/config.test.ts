import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, 'config');

/** The text of a role's files with this ending, as its ConfigMap has them. */
function files(role: string, ending: string): string {
  return ['common', role]
    .flatMap((folder) => readdirSync(join(root, folder)).map((file) => join(root, folder, file)))
    .filter((path) => path.endsWith(ending))
    .map((path) => readFileSync(path, 'utf8'))
    .join('\n');
}

/** A role's directives, one a line, comments removed. */
function directives(role: string): string {
  return files(role, '.conf')
    .split('\n')
    .filter((line) => !/^\s*[#;]/.test(line))
    .join('\n');
}

const roles = ['proxy', 'store', 'auth'] as const;

describe.each(roles)('dovecot role %s', (role) => {
  const text = directives(role);

  it('uses only placeholders that README.md lists', () => {
    const readme = readFileSync(join(import.meta.dirname, 'README.md'), 'utf8');
    const all = files(role, '');
    for (const [placeholder] of all.matchAll(/@[A-Z][A-Z0-9_]*@/g)) expect(readme).toContain(placeholder);
  });

  it('never answers from a cache of logins', () => {
    expect(text).toMatch(/^auth_cache_size = 0$/m);
    expect(text).not.toMatch(/auth_cache_(size|ttl) = [1-9]/);
  });

  it('runs as one unprivileged user without chroots', () => {
    expect(text).toMatch(/^default_internal_user = vmail$/m);
    expect(text).toMatch(/^default_login_user = vmail$/m);
    expect(text).not.toMatch(/^\s*chroot = \S/m);
    expect(text).not.toMatch(/^\s*user = root$/m);
  });

  it('has no password in its configuration', () => {
    // `password = </secret/...` is the shard's secret; anything literal would end in a ConfigMap.
    expect(text).not.toMatch(/^\s*(password|pass) = [^<]/m);
  });

  it('loads Sieve for LMTP only: in doveadm it breaks every command', () => {
    const blocks = [...text.matchAll(/^protocol (\w+) \{\n([\s\S]*?)^\}/gm)];
    const withSieve = blocks.filter(([, , body]) => /^\s*sieve = yes$/m.test(body ?? ''));
    expect(withSieve.map(([, protocol]) => protocol)).toEqual(role === 'store' ? ['lmtp'] : []);
    expect(text.match(/^\s*sieve = yes$/gm) ?? []).toHaveLength(withSieve.length);
  });
});

describe('dovecot proxy', () => {
  const text = directives('proxy');

  it('offers no port without TLS', () => {
    expect(text).toMatch(/^ssl = required$/m);
    expect(text).toMatch(/inet_listener imap \{\n\s*port = 0\n/);
    expect(text).not.toMatch(/auth_allow_cleartext = yes/);
    expect(text).not.toMatch(/login_trusted_networks/);
  });

  it('verifies the shard, shows it a certificate, and does not multiplex the stream', () => {
    expect(text).toMatch(/^ssl_client_require_valid_cert = yes$/m);
    expect(text).toMatch(/^ssl_client_cert_file = \/tls\/tls\.crt$/m);
    expect(text).not.toMatch(/any-cert/);
    expect(text).toMatch(/^\s*proxy_no_multiplex = yes$/m);
  });
});

describe.each(['proxy', 'auth'])('dovecot role %s', (role) => {
  const text = directives(role);

  it('has passwords from the gatekeeper and from nowhere else', () => {
    expect(text.match(/^passdb \w+/gm)?.every((passdb) => passdb === 'passdb lua')).toBe(true);
    expect(text).toMatch(/lua_file = \/config\/gatekeeper\.lua/);
    expect(text).not.toMatch(/^userdb /m);
    expect(text).not.toMatch(/^\s*query = /m);
    expect(text).not.toMatch(/skip_password_check|nopassword|allow_nets|auth_debug/);
  });

  it('does not wait for it in the process that all logins share', () => {
    expect(text).toMatch(/passdb lua \{\n\s*lua_file = [^\n]*\n\s*use_worker = yes/);
  });
});

describe('what is asked of the gatekeeper', () => {
  const lua = readFileSync(join(root, 'common', 'gatekeeper.lua'), 'utf8');

  it('ends in a refusal only where the gatekeeper or the hashes say so', () => {
    const refusals = lua.match(/PASSDB_RESULT_(PASSWORD_MISMATCH|USER_UNKNOWN|USER_DISABLED|NEXT)/g) ?? [];
    expect(refusals).toEqual([
      'PASSDB_RESULT_PASSWORD_MISMATCH', // no hash fits
      'PASSDB_RESULT_USER_UNKNOWN', // "unknown"
      'PASSDB_RESULT_PASSWORD_MISMATCH', // "denied"
      'PASSDB_RESULT_USER_UNKNOWN', // a look-up without a password
    ]);
  });

  it('logs neither password nor hash', () => {
    expect(lua).not.toMatch(/\.\. *(password|tostring\(candidate\.hash|candidate\.hash|json|login)/);
    for (const [words] of lua.matchAll(/log_\w+\(.*\)$/gm)) expect(words).not.toMatch(/\b(password|hash)\b/);
  });
});

describe('dovecot store', () => {
  const text = directives('store');

  it('listens on loopback only', () => {
    expect(text).toMatch(/^listen = 127\.0\.0\.1$/m);
  });

  it('asks the directory for its own shard only, and defers for everybody else', () => {
    expect(text.match(/directory_v1\.\w+/g)).toEqual(['directory_v1.store_user', 'directory_v1.userdb']);
    expect(text).toContain("directory_v1.store_user('%{user}', '@SHARD@', '%{protocol}')");
    expect(text).toMatch(/directory_v1\.userdb WHERE shard = '@SHARD@'$/m);
    expect(text).toMatch(/userdb static \{\n\s*fields \{\n\s*tempfail = yes\n/);
  });

  it('verifies the directory and shows it a certificate', () => {
    expect(text).toMatch(/^\s*sslmode = verify-full$/m);
    expect(text).toMatch(/^\s*sslcert = \/tls\/tls\.crt$/m);
  });

  it('bounces what does not fit, and answers but sends nothing else', () => {
    expect(text).toMatch(/^quota_full_tempfail = no$/m);
    for (const extension of ['reject', 'ereject', 'vacation-seconds', 'enotify']) {
      expect(text).toMatch(new RegExp(`^\\s*${extension} = no$`, 'm'));
    }
    expect(text).toMatch(/^sieve_max_redirects = 0$/m);
    expect(text).toMatch(/^sendmail_path = \S+\/queue-reply %\{user\} %\{userdb:addresses\} %\{userdb:may_send\}$/m);
    expect(text).not.toMatch(/submission_host/);
  });

  it('lets programs be run from global scripts only, and only those of one folder', () => {
    expect(text.match(/vnd\.dovecot\.\w+ = yes/g)).toEqual(['vnd.dovecot.pipe = yes', 'vnd.dovecot.environment = yes']);
    expect(text).toMatch(/^ {2}sieve_global_extensions \{/m); // inside protocol imap
    expect(text).toMatch(/^ {2}sieve_pipe_bin_dir = \/usr\/local\/lib\/posthorn\/sieve$/m);
  });

  it('asks for rights in every namespace but the own one, and nobody can give any', () => {
    expect(text.match(/acl_ignore = yes/g)).toHaveLength(1);
    expect(text).toMatch(/^namespace inbox \{[\s\S]*?\n {2}acl_ignore = yes\n/m);
    expect(text).toMatch(/^acl_globals_only = yes$/m);
    expect(text).toMatch(/^acl anyone \{\n {2}acl_rights = lr\n\}$/m);
    expect(text).not.toMatch(/imap_acl|acl_sharing_map|acl_user|master/);
  });

  it('opens protocols only where the agent says what this copy is, and none for a replica', () => {
    const store = readFileSync(join(root, 'store', 'dovecot.conf'), 'utf8');
    expect(store).not.toMatch(/^protocols/m);
    expect(store.trimEnd().split('\n').at(-1)).toBe('!include /run/agent/mode.conf');
    const protocols = (mode: string) =>
      readFileSync(join(root, 'store', `mode-${mode}.conf`), 'utf8').match(/^protocols =.*$/gm);
    expect(protocols('primary')).toEqual(['protocols = imap lmtp sieve']);
    expect(protocols('opening')).toEqual(['protocols = lmtp']);
    expect(protocols('replica')).toEqual(['protocols =']);
  });

  it('lets in nobody who was told of another epoch; of none, only where there is one copy', () => {
    expect(text).toContain(`'%{passdb:forward_epoch | default('')}' <> '%{env:POSTHORN_EPOCH}'`);
    expect(text).toContain(`NOT ('%{passdb:forward_epoch | default('')}' = '' AND @REPLICAS@ = 1)`);
    expect(readFileSync(join(root, 'common', 'gatekeeper.lua'), 'utf8')).toContain('given.forward_epoch =');
  });

  it('finds messages by a header, which an index for searches would prevent', () => {
    expect(text).toMatch(/^protocol doveadm \{\n {2}mail_plugins \{\n {4}fts = no\n {4}fts_flatcurve = no\n/m);
    expect(text).toMatch(/^ {2}hdr\.x-delivery-id = yes$/m);
  });

  it('keeps expunges in the logs: three settings that work only together', () => {
    for (const name of ['rotate_max_size', 'rotate_min_age']) expect(text).toContain(`mail_index_log_${name} = `);
    expect(text).toContain('mail_index_log2_max_age = ');
  });
});
