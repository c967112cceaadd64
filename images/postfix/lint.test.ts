import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const CONFIG = join(import.meta.dirname, 'config');
const ROLES = ['mx', 'submission', 'egress', 'forward'] as const;

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

const serviceOf = (role: string, name: string): string =>
  masterOf(role)
    .split(/\n(?=\S)/)
    .find((service) => new RegExp(`^${name}\\s`).test(service)) ?? '';

it('internal listeners want a certificate of our authority that is listed', () => {
  const mx = serviceOf('mx', '10025');
  expect(mx).toMatch(/-o smtpd_tls_security_level=encrypt\n/);
  expect(mx).toMatch(/-o smtpd_tls_req_ccert=yes\n/);
  expect(mx).toMatch(/-o smtpd_client_restrictions=\$internal_client_restrictions\n/);
  expect(new Map(mainOf('mx')).get('internal_client_restrictions')).toBe('permit_tls_clientcerts, defer');
  for (const role of ['egress', 'forward']) {
    const main = new Map(mainOf(role));
    expect(main.get('smtpd_tls_security_level')).toBe('encrypt');
    expect(main.get('smtpd_tls_req_ccert')).toBe('yes');
    expect(main.get('smtpd_client_restrictions')).toBe('permit_tls_clientcerts, defer');
    expect(main.get('smtpd_relay_restrictions')).toBe('permit_tls_clientcerts, defer');
    expect(masterOf(role)).not.toMatch(
      /smtpd_(tls_security_level|tls_req_ccert|client_restrictions|relay_restrictions)/,
    );
  }
});

it('port 25 takes a recipient by the gatekeeper’s word only', () => {
  const main = new Map(mainOf('mx'));
  expect(main.get('smtpd_relay_restrictions')).toBe('check_policy_service inet:127.0.0.1:10040 defer');
  expect(main.get('smtpd_policy_service_default_action')).toMatch(/^450 /);
  expect(serviceOf('mx', 'smtp')).not.toMatch(/_restrictions|policy_service/);
});

it('what the forward role hands to egress comes in on a port of its own, which nobody else may use', () => {
  expect(new Map(mainOf('forward')).get('relayhost')).toBe('[@EGRESS_HOST@]:10026');
  const port = serviceOf('egress', '10026');
  expect(port).toMatch(/-o relay_clientcerts=texthash:\/run\/posthorn\/forward_clientcerts\n/);
  expect(port).toMatch(/-o milter_macro_daemon_name=forward(\n|$)/);
  expect(new Map(mainOf('egress')).get('milter_macro_daemon_name')).toBe('egress');
  for (const role of ['mx', 'submission']) {
    expect(new Map(mainOf(role)).get('relayhost')).toBe('[@EGRESS_HOST@]:10025');
  }
});

it('lets mx and store send reports only, and returns headers only in reports to strangers', () => {
  const egress = new Map(mainOf('egress'));
  expect(egress.get('smtpd_sender_restrictions')).toBe('check_ccert_access texthash:/run/posthorn/reporters');
  expect(egress.get('reports_only')).toMatch(/^check_sender_access texthash:\S+\/report_sender, defer$/);
  for (const role of ['mx', 'egress', 'forward']) expect(new Map(mainOf(role)).get('bounce_size_limit')).toBe('1');
});

describe('senders on port 25', () => {
  const rules = withoutComments(read('mx', 'outside_senders.regexp'))
    .split('\n')
    .flatMap((line) => /^\/(.*)\/\s+(\d+) /.exec(line)?.[1] ?? [])
    // POSIX brackets as JavaScript writes them
    .map(
      (pattern) =>
        new RegExp(pattern.replace('[]["();:<\\,[:space:][:cntrl:]]', '[\\]["();:<\\\\,\\s\\x00-\\x1f\\x7f]'), 'i'),
    );
  const isRefused = (sender: string): boolean => rules.some((rule) => rule.test(sender));

  it.each([
    '<>',
    'a@b.example',
    'SRS0=ab=cd=x.example=u@y.example',
    "o'neil+x@b.example",
    'bounce-1_2/x=y@b.example',
    'a@invalid.example',
  ])('%s may be one', (sender) => expect(isRefused(sender)).toBe(false));
  it.each([
    'a;b@c.example',
    'a(b@c.example',
    'a)b@c.example',
    'a"b@c.example',
    'a\\b@c.example',
    'a b@c.example',
    'a,b@c.example',
    'a\tb@c.example',
    'jörg@c.example',
    'x@courier.invalid',
    'x@INVALID.',
    'x@forward.invalid',
  ])('%s may not', (sender) => expect(isRefused(sender)).toBe(true));
});

it('forwards change senders of envelopes, never headers, and one recipient at a time', () => {
  const main = new Map(mainOf('forward'));
  expect(main.get('sender_canonical_classes')).toBe('envelope_sender');
  expect(
    [...main.keys()].filter((name) => /^(canonical_maps|recipient_canonical_maps|header_checks)$/.test(name)),
  ).toEqual(['header_checks']);
  expect(main.get('smtpd_recipient_limit')).toBe('1');
  expect(new Map(mainOf('mx')).get('forward_destination_recipient_limit')).toBe('1');
});

it('refuses at the command that deserves it at submission, and asks the gatekeeper three times', () => {
  const main = new Map(mainOf('submission'));
  expect(main.get('smtpd_delay_reject')).toBe('no');
  expect(main.get('smtpd_sender_restrictions')).toMatch(/ check_sasl_access static:logged_in reject$/);
  expect(main.get('logged_in')).toBe(
    'check_policy_service inet:127.0.0.1:10040 reject_authenticated_sender_login_mismatch permit_sasl_authenticated',
  );
  expect(main.get('smtpd_relay_restrictions')).toMatch(
    /check_policy_service inet:127\.0\.0\.1:10040 \S.*permit_sasl_authenticated reject$/,
  );
  expect(main.get('smtpd_end_of_data_restrictions')).toBe('check_policy_service inet:127.0.0.1:10040');
  expect(main.get('smtpd_policy_service_default_action')).toMatch(/^451 /);
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

  it.each([
    ['5.4.4 unable to look up host courier: Name or service not known', '4.4.4'],
    ['5.7.1 host courier[10.0.0.1] said: 554 5.7.1 no (in reply to MAIL FROM command)', '4.7.1'],
    ['5.0.0 host courier[10.0.0.1] said: 501 Error: Bad syntax (in reply to RCPT TO command)', '4.0.0'],
    ['5.5.4 host courier[10.0.0.1] said: 500 5.5.4 what? (in reply to LHLO command)', '4.5.4'],
    ['5.1.1 host courier[10.0.0.1] said: 550 5.1.1 no such rule (in reply to RCPT TO command)', '5.1.1'],
    ['5.3.0 host courier[10.0.0.1] said: 554 5.3.0 command ended with 1 (in reply to end of DATA command)', '5.3.0'],
  ])('to the courier: %s → %s', (status, expected) => {
    expect(filter(read('forward', 'courier_status.regexp'), status).split(' ')[0]).toBe(expected);
  });
});
