import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { mailboxType, mailSystemType } from '../../operator/types.js';
import { domain, hostname, login, namespace, systemName } from './lib/environment.js';
import { canLogIn, waitForMessage } from './lib/imap.js';
import { apply, remove, waitFor, waitForCondition } from './lib/kube.js';
import { ldapSpec, scaleLdap, startLdap } from './lib/ldap.js';
import { waitForReceived } from './lib/outside.js';
import { refusal, send } from './lib/smtp.js';

const { smtp, submission, imap, outside, ca } = inject('environment');
const trusted = { ca, serverName: hostname };
const person = (name: string) => ({ user: `${name}@${domain}`, pass: `${name}-secret` });
const amy = person('ldap-amy');
const bob = person('ldap-bob');
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Mailboxes without a password of their own: the server of the MailSystem knows it. */
beforeAll(async () => {
  await startLdap();
  for (const name of ['ldap-amy', 'ldap-bob', 'ldap-nobody']) {
    await apply({
      apiVersion: 'posthorn.dev/v1alpha1',
      kind: 'Mailbox',
      metadata: { name, namespace },
      spec: { address: `${name}@${domain}` },
    } as never);
  }
  for (const name of ['ldap-amy', 'ldap-bob', 'ldap-nobody'])
    await waitForCondition(mailboxType, { namespace, name }, {});
  await waitFor('a log-in by LDAP', async () => ((await canLogIn(imap, amy)) ? true : undefined));
});

afterAll(async () => {
  for (const name of ['ldap-amy', 'ldap-bob', 'ldap-nobody']) await remove(mailboxType, { namespace, name });
  await scaleLdap(0);
});

const submit = (from: { user: string; pass: string }, to: string) =>
  refusal(send(submission, { from: from.user, to, text: 'x' }, { auth: from, ...trusted }));

describe('an LDAP server', () => {
  it('[R32 R34] is declared in the MailSystem, which says that it is', async () => {
    await waitForCondition(mailSystemType, { namespace, name: systemName }, { type: 'LDAPReady' });
  });

  it('[R32] lets people read and send with the password that it knows', async () => {
    const to = `ldap-${randomUUID().slice(0, 8)}@outside.example`;
    expect(await submit(amy, to)).toBeUndefined();
    await waitForReceived(outside, to);
  });

  it('[R32] lets nobody in with another password, an empty one, or a name that it does not know', async () => {
    for (const wrong of [
      { ...amy, pass: 'wrong' },
      { ...amy, pass: '' },
      { ...amy, pass: '*' },
      person('ldap-nobody'),
      { user: `*@${domain}`, pass: amy.pass },
      { user: `ldap-amy)(mail=*@${domain}`, pass: amy.pass },
    ]) {
      expect(await canLogIn(imap, wrong), JSON.stringify(wrong)).toBe(false);
    }
  });

  it('[R32] keeps out whom it says to be gone', async () => {
    expect(await canLogIn(imap, bob)).toBe(false);
    expect((await submit(bob, 'x@outside.example'))?.code).toBeGreaterThanOrEqual(400);
  });

  it('[R32] that is down lets nobody in, while mail arrives and other people work; and then all is well again', async () => {
    const messageId = `<${randomUUID()}@outside.example>`;
    await scaleLdap(0);
    try {
      await pause(ldapSpec.cacheSeconds * 1_000 + 1_000);
      expect(await canLogIn(imap, amy)).toBe(false);
      expect((await submit(amy, 'x@outside.example'))?.code).toBe(454);
      await send(smtp, { from: 'friend@outside.example', to: amy.user, text: 'x', messageId });
      expect(await canLogIn(imap, login('mallory'))).toBe(true);
    } finally {
      await scaleLdap(1);
    }
    await waitFor('a log-in by LDAP', async () => ((await canLogIn(imap, amy)) ? true : undefined), 60_000);
    await waitForMessage(imap, amy, messageId);
  });
});
