import { describe, expect, it } from 'vitest';
import { webhookProblem } from './webhook.js';

const problem = (url: string, allowHosts: string[] | undefined = []) => webhookProblem(url, allowHosts, 'cluster.test');

describe('webhookProblem', () => {
  it.each(['https://bots.example.org/mail', 'https://93.184.216.34/', 'https://[2606:2800:220:1::1]:8443/x?y=z'])(
    'has nothing against %s',
    (url) => {
      expect(problem(url)).toBeUndefined();
    },
  );

  it.each([
    'https://bridgedb.bots.svc/mail',
    'https://bridgedb.bots.svc./mail',
    'https://BRIDGEDB.bots.SVC/mail',
    'https://bridgedb.bots.svc.cluster.local/mail',
    'https://bridgedb.bots.svc.cluster.test/mail',
    'https://kubernetes/api',
    'https://localhost:8080/',
    'https://a.localhost/',
    'https://printer.local/',
    'https://metadata.google.internal/',
    'https://10.96.0.1/',
    'https://127.0.0.1/',
    'https://127.1/',
    'https://0x7f000001/',
    'https://2130706433/',
    'https://192.168.1.1/',
    'https://172.16.0.1/',
    'https://169.254.169.254/latest/meta-data',
    'https://100.64.0.1/',
    'https://0.0.0.0/',
    'https://[::1]/',
    'https://[::ffff:10.0.0.1]/',
    'https://[fd00::1]/',
    'https://[fe80::1]/',
  ])('refuses %s, and says how it may be allowed', (url) => {
    expect(problem(url)).toMatch(/leads into the cluster or to a private network: .*allowHosts/);
  });

  it('refuses what is not encrypted', () => {
    expect(problem('http://bots.example.org/mail')).toMatch(/not encrypted: use https/);
  });

  it.each<[string, string]>([
    ['https://bridgedb.bots.svc/mail', 'bridgedb.bots.svc'],
    ['http://bridgedb.bots.svc:8080/mail', 'http://bridgedb.bots.svc:8080'],
    ['https://10.0.0.7:8443/', '10.0.0.7:8443'],
    ['http://bots.example.org/', 'http://bots.example.org'],
  ])('lets %s pass where %s is allowed, and says that it may be', (url, entry) => {
    expect(problem(url)).toContain(`have ${entry} added to spec.webhooks.allowHosts`);
    expect(problem(url, [entry])).toBeUndefined();
  });

  it('allows a host on its port and by its scheme, and nothing below or beside it', () => {
    const allow = ['bridgedb.bots.svc'];
    for (const url of [
      'https://x.bridgedb.bots.svc/',
      'https://bots.svc/',
      'https://bridgedb.bots.svc:6379/',
      'http://bridgedb.bots.svc/',
    ]) {
      expect(problem(url, allow)).toMatch(/leads into the cluster/);
    }
  });

  it('says to rules in other namespaces that nothing allows it there', () => {
    const refused = webhookProblem('https://bridgedb.bots.svc/', undefined, 'cluster.test');
    expect(refused).toMatch(/leads into the cluster .*make the rule in the namespace of the MailSystem/);
    expect(webhookProblem('https://bots.example.org/', undefined, 'cluster.test')).toBeUndefined();
  });

  it('says so of what is no URL', () => {
    expect(problem('https://')).toMatch('is no URL');
  });
});
