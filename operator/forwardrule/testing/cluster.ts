/** Caches of a small cluster, as rules see it. */
import type { ForwardRule, ForwardRuleSpec } from '../../../crds/forwardrule.js';
import type { Mailbox, MailboxSpec } from '../../../crds/mailbox.js';
import type { MailDomain, MailDomainSpec } from '../../../crds/maildomain.js';
import { type MailSystem, type MailSystemSpec, resolveMailSystem } from '../../../crds/mailsystem.js';
import { mailboxIndexes } from '../../mailbox/controller.js';
import { createHostingView, mailDomainIndexes, mailSystemIndexes } from '../../maildomain/controller.js';
import { challengeValue } from '../../maildomain/ownership.js';
import { createCache } from '../../runtime/cache.js';
import { hasBot } from '../bots.js';
import type { BotContext } from '../context.js';
import { forwardRuleIndexes } from '../controller.js';
import { interestedIn } from '../dependencies.js';
import { desiredForward } from '../desired.js';
import { createLandscape } from '../landscape.js';
import { createLiveForwards } from '../live.js';

const API = { apiVersion: 'posthorn.dev/v1alpha1' } as const;

/** A cluster: `mail/mail` serves example.org of namespace mail, and shop.example of namespace shop. */
export function cluster(system: Partial<MailSystemSpec> = {}) {
  const systems = createCache<MailSystem>(mailSystemIndexes);
  const domains = createCache<MailDomain>(mailDomainIndexes);
  const mailboxes = createCache<Mailbox>(mailboxIndexes);
  const rules = createCache<ForwardRule>(forwardRuleIndexes);
  let made = 0;
  const metadata = (namespace: string, name: string) => {
    made += 1;
    const creationTimestamp = new Date(Date.UTC(2026, 0, 1) + made * 1000).toISOString().replace('.000', '');
    return { namespace, name, uid: `${namespace}-${name}`, creationTimestamp, generation: 1 };
  };
  systems.set({
    ...API,
    kind: 'MailSystem',
    metadata: metadata('mail', 'mail'),
    spec: { hostname: 'mx.example.org', tenants: { namespaces: ['*'] }, ...system },
  });
  const hosting = createHostingView(systems, domains);
  const systemSpec = (key: string) => {
    const object = systems.get(key);
    return object === undefined ? undefined : resolveMailSystem(object.spec);
  };
  const bots: BotContext = { systemSpec, clusterDomain: 'cluster.local', secretExists: (_, name) => name === 'there' };
  const landscape = createLandscape({
    rules,
    mailboxes,
    hosting,
    systemSpec,
    hasBot: (rule, spec, key) => hasBot(rule, spec, key, bots),
    clusterDomain: bots.clusterDomain,
  });
  const live = createLiveForwards();
  const context = { ...bots, landscape, live };

  const self = {
    live,
    domain: (name: string, namespace = 'mail', spec: MailDomainSpec = {}) => {
      const object: MailDomain = { ...API, kind: 'MailDomain', metadata: metadata(namespace, name), spec };
      const { uid } = object.metadata;
      const proof = { challenge: challengeValue(uid ?? '', name), verifiedAt: '2026-01-02T00:00:00Z' };
      domains.set(namespace === 'mail' ? object : { ...object, status: { ownership: proof } });
      return self;
    },
    mailbox: (
      address: string,
      aliases: string[] = [],
      namespace = 'mail',
      creationTimestamp?: string,
      more: Partial<MailboxSpec> = {},
    ) => {
      const name = address.slice(0, address.indexOf('@'));
      const made = metadata(namespace, name);
      mailboxes.set({
        ...API,
        kind: 'Mailbox',
        metadata: { ...made, creationTimestamp: creationTimestamp ?? made.creationTimestamp },
        spec: { address, aliases, ...more },
      });
      return self;
    },
    rule: (address: string, to: string[], more: Partial<ForwardRuleSpec> = {}, namespace = 'mail') => {
      const name = ruleName(address);
      rules.set({ ...API, kind: 'ForwardRule', metadata: metadata(namespace, name), spec: { address, to, ...more } });
      return self;
    },
    remove: (kind: 'Mailbox' | 'ForwardRule', address: string) => {
      const name = kind === 'Mailbox' ? address.slice(0, address.indexOf('@')) : ruleName(address);
      (kind === 'Mailbox' ? mailboxes : rules).delete(`mail/${name}`);
      return self;
    },
    desired: (address: string) => {
      const [rule] = rules.byIndex('address', address);
      if (rule === undefined) throw new Error(`no rule for ${address}`);
      return desiredForward(rule, context);
    },
    reasons: (address: string) => self.desired(address).problems.map(({ reason }) => reason),
    message: (address: string) =>
      self
        .desired(address)
        .problems.map(({ message }) => message)
        .join(' '),
    uid: (address: string) => rules.byIndex('address', address)[0]?.metadata.uid ?? '',
    interested: (address: string) =>
      [...interestedIn(rules, address)].map((key) => rules.get(key)?.spec.address).sort(),
  };
  return self.domain('example.org').domain('shop.example', 'shop', { systemNamespace: 'mail' });
}

function ruleName(address: string): string {
  return address.replace('*', 'all').replace(/[@.]/g, '-');
}
