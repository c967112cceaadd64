import { describe, expect, it } from 'vitest';
import { checkDestination, DestinationRefused, type DestinationRules } from './destination.js';

const rules = (more: Partial<DestinationRules> = {}): DestinationRules => ({
  allowHosts: [],
  clusterDomain: 'cluster.example',
  refusedNetworks: [],
  ...more,
});
const check = (url: string, addresses: string[] = ['8.8.8.8'], more: Partial<DestinationRules> = {}) =>
  checkDestination(new URL(url), rules(more), async () => addresses);

describe('a webhook may not go', () => {
  it.each([
    'http://bots.example.org/',
    'ftp://bots.example.org/',
    'file:///etc/passwd',
    'https://localhost/',
    'https://LOCALHOST./',
    'https://x.localhost/',
    'https://kubernetes/',
    'https://kubernetes.default/x'.replace('default', 'default.svc'),
    'https://mail-redis.mail.svc.cluster.example:6379/',
    'https://bot.bots.svc.cluster.local/',
    'https://127.0.0.1/',
    'https://2130706433/',
    'https://0x7f.1/',
    'https://0177.0.0.1/',
    'https://0/',
    'https://10.0.0.1/',
    'https://172.16.3.4/',
    'https://192.168.1.1/',
    'https://169.254.169.254/latest/meta-data/',
    'https://100.64.0.1/',
    'https://[::1]/',
    'https://[::]/',
    'https://[::ffff:127.0.0.1]/',
    'https://[::ffff:a00:1]/',
    'https://[fe80::1]/',
    'https://[fd00::1]/',
    'https://[64:ff9b::a00:1]/',
    'https://[2002:a00:1::]/',
    'https://224.0.0.1/',
    'https://255.255.255.255/',
  ])('to %s', async (url) => {
    await expect(check(url)).rejects.toThrow(DestinationRefused);
  });

  it.each([['127.0.0.1'], ['8.8.8.8', '10.0.0.1'], ['::ffff:10.0.0.1'], ['169.254.169.254'], ['fd00::1'], ['::1']])(
    'to a name with the address %s',
    async (...addresses) => {
      await expect(check('https://bots.example.org/', addresses)).rejects.toThrow(DestinationRefused);
    },
  );

  it("to the cluster's networks, though they be public", async () => {
    const networks = { refusedNetworks: ['8.8.0.0/16', '2600::/16'] };
    await expect(check('https://bots.example.org/', ['8.8.8.8'], networks)).rejects.toThrow(/cluster's network/);
    await expect(check('https://bots.example.org/', ['2600::5'], networks)).rejects.toThrow(/cluster's network/);
    expect(await check('https://bots.example.org/', ['9.9.9.9'], networks)).toHaveLength(1);
  });

  it('anywhere when the name has no address', async () => {
    await expect(check('https://bots.example.org/', [])).rejects.toThrow(/no address/);
  });
});

it('may go to the Internet, at the addresses that were judged', async () => {
  expect(await check('https://bots.example.org/mail', ['9.9.9.9', '2606:4700::1'])).toEqual([
    { address: '9.9.9.9', family: 4 },
    { address: '2606:4700::1', family: 6 },
  ]);
});

it('may go where the administrator allows it: that scheme, host and port, and no other', async () => {
  const allow = { allowHosts: ['bridgedb.bots.svc', 'odd.bots.svc:8443', 'http://plain.bots.svc', '[fd00::7]:8443'] };
  for (const url of [
    'https://bridgedb.bots.svc/mail',
    'https://BridgeDB.bots.svc.:443/mail',
    'https://odd.bots.svc:8443/',
    'http://plain.bots.svc/',
    'https://[fd00::7]:8443/',
  ]) {
    expect(await check(url, ['10.0.0.1'], allow), url).toHaveLength(1);
  }
  for (const url of [
    'https://other.bots.svc/',
    'https://x.bridgedb.bots.svc/',
    'https://bridgedb.bots.svc.example.org/',
    'https://bridgedb.bots.svc:6443/',
    'http://bridgedb.bots.svc/',
    'http://bridgedb.bots.svc:443/',
    'https://odd.bots.svc/',
    'https://plain.bots.svc/',
    'http://plain.bots.svc:8080/',
    'gopher://bridgedb.bots.svc/',
    'https://[fd00::7]/',
  ]) {
    await expect(check(url, ['10.0.0.1'], allow), url).rejects.toThrow(DestinationRefused);
  }
});
