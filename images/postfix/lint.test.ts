import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const CONFIG = join(import.meta.dirname, 'config');
const ROLES = ['mx', 'submission', 'egress'] as const;

const read = (folder: string, file: string): string => readFileSync(join(CONFIG, folder, file), 'utf8');
const withoutComments = (text: string): string =>
  text
    .split('\n')
    .filter((line) => !line.startsWith('#'))
    .join('\n');

/** Parameters of a main.cf, in the order given; a parameter that is set twice is there twice. */
function settings(text: string): [string, string][] {
  const logical = withoutComments(text).replaceAll(/\n[ \t]+/g, ' ');
  return [...logical.matchAll(/^(\w+)[ \t]*=[ \t]*(.*)$/gm)].map(([, name, value]) => [
    name ?? '',
    (value ?? '').trim(),
  ]);
}

const mainOf = (role: string): [string, string][] => [
  ...settings(read('common', 'main-common.cf')),
  ...settings(read(role, 'main.cf')),
];
const masterOf = (role: string): string =>
  withoutComments(`${read('common', 'master-common.cf')}\n${read(role, 'master.cf')}`);

/** Trust by network address or by any certificate of our authority: either makes an open relay on Kubernetes. */
const FORBIDDEN =
  /permit_mynetworks|permit_tls_all_clientcerts|permit_inet_interfaces|permit_mx_backup|check_client_access/;

describe('every template', () => {
  for (const folder of readdirSync(CONFIG)) {
    for (const file of readdirSync(join(CONFIG, folder))) {
      it(`${folder}/${file} trusts no address`, () => {
        expect(withoutComments(read(folder, file))).not.toMatch(FORBIDDEN);
      });
    }
  }
});

describe.each(ROLES)('%s', (role) => {
  const main = new Map(mainOf(role));

  it('sets no parameter twice, so that the two parts cannot contradict each other', () => {
    const names = mainOf(role).map(([name]) => name);
    expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([]);
  });

  it('has only loopback in mynetworks, and master.cf does not change that', () => {
    expect(main.get('mynetworks')).toBe('127.0.0.0/8 [::1]/128');
    expect(masterOf(role)).not.toMatch(/mynetworks/);
  });

  it('takes no UTF-8 addresses', () => {
    expect(main.get('smtputf8_enable')).toBe('no');
  });

  it('defers when a milter is away, on every listener', () => {
    expect(main.get('milter_default_action')).toBe('tempfail');
    expect(masterOf(role)).not.toMatch(/milter_default_action/);
  });

  it('delivers nothing by itself and relays for no list of domains', () => {
    expect(main.get('mydestination')).toBe('');
    expect(main.get('relay_domains')).toBe('');
    expect(main.get('smtpd_reject_unlisted_recipient')).toBe('no');
  });

  it('ends its relay restrictions with a refusal', () => {
    for (const name of ['smtpd_relay_restrictions', 'internal_relay_restrictions', 'internal_client_restrictions']) {
      const value = main.get(name);
      if (value !== undefined) expect(value, name).toMatch(/[\s,](defer|reject)$/);
    }
    expect(main.get('smtpd_relay_restrictions')).toBeDefined();
  });

  it('asks no directory where smtpd would remember the answer', () => {
    const listeners = masterOf(role)
      .split(/\n(?=\S)/)
      .filter((service) => /^\S+\s+inet\s/.test(service));
    expect(listeners).not.toEqual([]);
    for (const listener of listeners) expect(listener).toMatch(/-o rewrite_service_name=rewrite-smtpd(\n|$)/);
  });
});

it('internal listeners want a certificate of our authority that is listed', () => {
  const mx = masterOf('mx')
    .split(/\n(?=\S)/)
    .find((service) => service.startsWith('10025'));
  expect(mx).toMatch(/-o smtpd_tls_security_level=encrypt\n/);
  expect(mx).toMatch(/-o smtpd_tls_req_ccert=yes\n/);
  expect(mx).toMatch(/-o smtpd_client_restrictions=\$internal_client_restrictions\n/);
  expect(new Map(mainOf('mx')).get('internal_client_restrictions')).toBe('permit_tls_clientcerts, defer');
  const egress = new Map(mainOf('egress'));
  expect(egress.get('smtpd_tls_security_level')).toBe('encrypt');
  expect(egress.get('smtpd_tls_req_ccert')).toBe('yes');
  expect(egress.get('smtpd_client_restrictions')).toBe('permit_tls_clientcerts, defer');
  expect(egress.get('smtpd_relay_restrictions')).toBe('permit_tls_clientcerts, defer');
});

describe('delivery status filters', () => {
  /** What regexp_table(5) makes of a status: the first rule that matches wins. */
  function filter(table: string, status: string): string {
    for (const line of withoutComments(table).split('\n')) {
      const [, pattern, result] = /^\/(.*)\/\s+(.*)$/.exec(line) ?? [];
      const match = pattern === undefined ? null : new RegExp(pattern).exec(status);
      if (match && result !== undefined) return result.replaceAll(/\$(\d)/g, (_, n: string) => match[Number(n)] ?? '');
    }
    return status;
  }

  it.each([
    ['5.1.1 host store said: 550 5.1.1 User does not exist', '4.1.1'],
    ['5.4.4 unable to look up host store: Name or service not known', '4.4.4'],
    ['5.7.1 denied', '4.7.1'],
    ['5.2.2 Quota exceeded', '5.2.2'],
    ['5.2.3 too large for the mailbox', '5.2.3'],
    ['5.3.4 too large', '5.3.4'],
    ['4.2.2 Quota exceeded', '4.2.2'],
    ['2.1.5 delivered', '2.1.5'],
  ])('to the store: %s → %s', (status, expected) => {
    expect(filter(read('mx', 'store_status.regexp'), status).split(' ')[0]).toBe(expected);
  });

  it.each([
    ['5.4.4 unable to look up host egress: Name or service not known', '4.4.4'],
    ['5.7.1 host egress said: 554 5.7.1 Client host rejected', '4.7.1'],
    ['5.2.2 Quota exceeded', '4.2.2'],
    ['5.3.4 message too large', '5.3.4'],
    ['5.7.1 host egress said: 554 5.7.1 From header must hold exactly one mailbox', '5.7.1'],
  ])('between roles: %s → %s', (status, expected) => {
    expect(filter(read('common', 'hop_status.regexp'), status).split(' ')[0]).toBe(expected);
  });
});
