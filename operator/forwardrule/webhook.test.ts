import { describe, expect, it } from 'vitest';
import { webhookProblem } from './webhook.js';

const problem = (url: string, allowHosts: string[] = []) => webhookProblem(url, allowHosts, 'cluster.test');

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
    ['http://bridgedb.bots.svc:8080/mail', 'bridgedb.bots.svc'],
    ['http://10.0.0.7/', '10.0.0.7'],
    ['https://[FD00:0::1]/', 'fd00::1'],
  ])('lets %s pass where %s is allowed', (url, host) => {
    expect(problem(url, [host])).toBeUndefined();
  });

  it('allows a host, and none below or beside it', () => {
    expect(problem('https://x.bridgedb.bots.svc/', ['bridgedb.bots.svc'])).toBeDefined();
    expect(problem('https://bots.svc/', ['bridgedb.bots.svc'])).toBeDefined();
  });

  it('says so of what is no URL', () => {
    expect(problem('https://')).toMatch('is no URL');
  });
});
