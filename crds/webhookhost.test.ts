import { describe, expect, it } from 'vitest';
import { isAllowedHost, WEBHOOK_HOST_PATTERN } from './webhookhost.js';

const allowed = (url: string, ...entries: string[]) => isAllowedHost(new URL(url), entries);

describe('an entry of allowHosts', () => {
  it.each<[string, string]>([
    ['bridgedb.bots.svc', 'https://bridgedb.bots.svc/mail?x=y'],
    ['bridgedb.bots.svc', 'https://BridgeDB.bots.SVC.:443/'],
    ['bridgedb.bots.svc:8443', 'https://bridgedb.bots.svc:8443/'],
    ['http://bridgedb.bots.svc', 'http://bridgedb.bots.svc/'],
    ['http://bridgedb.bots.svc:8080', 'http://bridgedb.bots.svc:8080/'],
    ['10.0.0.7', 'https://10.0.0.7/'],
    ['10.0.0.7:8443', 'https://0x0a000007:8443/'],
    ['fd00::1', 'https://[FD00:0::1]/'],
    ['[fd00::1]:8443', 'https://[fd00::1]:8443/'],
    ['http://[fd00::1]', 'http://[fd00::1]/'],
  ])('%s allows %s', (entry, url) => {
    expect(entry).toMatch(WEBHOOK_HOST_PATTERN);
    expect(allowed(url, 'other.svc', entry)).toBe(true);
  });

  it.each<[string, string, string]>([
    ['another port', 'mail-redis.mail.svc', 'https://mail-redis.mail.svc:6379/'],
    ['the default port', 'bridgedb.bots.svc:8443', 'https://bridgedb.bots.svc/'],
    ['http', 'bridgedb.bots.svc', 'http://bridgedb.bots.svc/'],
    ['http on the port of https', 'bridgedb.bots.svc', 'http://bridgedb.bots.svc:443/'],
    ['http on a port for https', 'bridgedb.bots.svc:8080', 'http://bridgedb.bots.svc:8080/'],
    ['https', 'http://bridgedb.bots.svc', 'https://bridgedb.bots.svc/'],
    ['https on a port for http', 'http://bridgedb.bots.svc:8443', 'https://bridgedb.bots.svc:8443/'],
    ['a host below', 'bots.svc', 'https://x.bots.svc/'],
    ['a host beside', 'bridgedb.bots.svc', 'https://bridgedb.bots.svc.example.org/'],
    ['another address', 'fd00::1', 'https://[fd00::2]/'],
  ])('does not allow %s', (_, entry, url) => {
    expect(entry).toMatch(WEBHOOK_HOST_PATTERN);
    expect(allowed(url, entry)).toBe(false);
  });

  it.each([
    'Bots.svc',
    'https://bots.svc',
    'ftp://bots.svc',
    'bots.svc/',
    'http://bots.svc/mail',
    'bots.svc:',
    'bots.svc:0',
    'bots.svc:123456',
    'user@bots.svc',
    'bots.svc,other.svc',
    '*.svc',
    'http://fd00::1',
    '',
  ])('may not be %j', (entry) => {
    expect(entry).not.toMatch(WEBHOOK_HOST_PATTERN);
  });

  it('allows nothing when it is no host, as of an older version', () => {
    expect(allowed('https://bots.svc/', 'bots svc', ':::', 'bots.svc:99999')).toBe(false);
  });
});
