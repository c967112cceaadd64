import type { MailDomain } from '../../crds/maildomain.js';
import type { MailSystemResolved } from '../../crds/mailsystem.js';
import type { CacheReader } from '../runtime/cache.js';
import type { EventRecorder } from '../runtime/events.js';
import type { Informer } from '../runtime/informer.js';
import type { Log } from '../runtime/log.js';
import type { KeyStore } from '../signing/ensure.js';
import type { Secret } from '../signing/secret.js';
import type { Systems } from '../systems.js';
import type { Hosting } from './hosting.js';
import type { Verifier } from './verify.js';

/** What the reconciliation of MailDomains works with. */
export interface MailDomainDependencies {
  keys: KeyStore;
  domains: Informer<MailDomain>;
  dkimSecrets: CacheReader<Secret>;
  hosting: (object: MailDomain) => Hosting;
  /** MailDomains that a MailSystem hosts. */
  hosted: (systemKey: string) => readonly MailDomain[];
  /** How many Mailboxes and ForwardRules have an address in this domain of this namespace. */
  addressesIn: (namespace: string, domain: string) => number;
  /** Proofs that domains belong to tenants. */
  verifier: Verifier;
  /** How a MailSystem resolves names; undefined when it is gone or can't be understood. */
  resolverOf: (systemKey: string) => MailSystemResolved['resolver'] | undefined;
  /** Called when a MailDomain has got a proof, which may take the domain from others. */
  onVerified: (domain: string) => void;
  /** Called when the directory has just got the domain, or a MailDomain got or lost its system. */
  onHosted: (namespace: string, domain: string) => void;
  systems: Systems;
  /** Whether that MailSystem is being deleted or is gone. */
  isLeaving: (systemKey: string) => boolean;
  events: EventRecorder;
  log: Log;
  now: () => Date;
}

/** A MailDomain that a MailSystem serves. */
export type Hosted = Extract<Hosting, { system: string }>;
