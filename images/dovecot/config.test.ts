import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, 'config');

/** A role's directives, one a line, comments removed, as the role's ConfigMap has them. */
function directives(role: string): string {
  const files = ['common', role].flatMap((folder) =>
    readdirSync(join(root, folder)).map((file) => readFileSync(join(root, folder, file), 'utf8')),
  );
  return files
    .join('\n')
    .split('\n')
    .filter((line) => !/^\s*[#;]/.test(line))
    .join('\n');
}

const roles = ['proxy', 'store', 'auth'] as const;

describe.each(roles)('dovecot role %s', (role) => {
  const text = directives(role);

  it('uses only placeholders that README.md lists', () => {
    const readme = readFileSync(join(import.meta.dirname, 'README.md'), 'utf8');
    for (const [placeholder] of text.matchAll(/@[A-Z][A-Z0-9_]*@/g)) expect(readme).toContain(placeholder);
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

  it('verifies the directory and shows it a certificate, never a password', () => {
    expect(text).toMatch(/^\s*sslmode = verify-full$/m);
    expect(text).toMatch(/^\s*sslcert = \/tls\/tls\.crt$/m);
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

  it('accepts a row only with a salted, slow hash, so that an empty or plain password is none', () => {
    expect(text).toContain("password ~ '^[{](ARGON2ID|ARGON2I|BLF-CRYPT|SHA256-CRYPT|SHA512-CRYPT)[}][$]'");
  });
});

describe('dovecot store', () => {
  const text = directives('store');

  it('listens on loopback only', () => {
    expect(text).toMatch(/^listen = 127\.0\.0\.1$/m);
  });

  it('asks the directory for its own shard only, and defers for everybody else', () => {
    const queries = text.match(/directory_v1\.userdb[^\n]*/g) ?? [];
    expect(queries).toHaveLength(2);
    for (const query of queries) expect(query).toContain("shard = '@SHARD@'");
    expect(text).toMatch(/userdb static \{\n\s*fields \{\n\s*tempfail = yes\n/);
  });

  it('bounces what does not fit and sends no mail itself', () => {
    expect(text).toMatch(/^quota_full_tempfail = no$/m);
    for (const extension of ['reject', 'ereject', 'vacation', 'vacation-seconds', 'enotify']) {
      expect(text).toMatch(new RegExp(`^\\s*${extension} = no$`, 'm'));
    }
    expect(text).toMatch(/^sieve_max_redirects = 0$/m);
  });

  it('keeps expunges in the logs: three settings that work only together', () => {
    for (const name of ['rotate_max_size', 'rotate_min_age']) expect(text).toContain(`mail_index_log_${name} = `);
    expect(text).toContain('mail_index_log2_max_age = ');
  });
});
