import type { MailSystemResolved } from '../../crds/mailsystem.js';
import type { Landscape } from './landscape.js';
import type { LiveForwards } from './live.js';

/** What surrounds a rule, as the caches show it. */
export interface ForwardContext extends BotContext {
  landscape: Landscape;
  live: LiveForwards;
}

/** What decides about webhooks and commands. */
export interface BotContext {
  systemSpec: (system: string) => MailSystemResolved | undefined;
  /** Of this cluster, such as cluster.local. */
  clusterDomain: string;
  secretExists: (namespace: string, name: string) => boolean;
}

/** Something that keeps a rule from being what its spec asks for: a condition's reason and message. */
export interface Problem {
  reason:
    | 'InvalidSpec'
    | 'DomainNotFound'
    | 'SystemNotFound'
    | 'LoopDetected'
    | 'ChainTooLong'
    | 'TargetNotAllowed'
    | 'TargetNotFound'
    | 'ConsentMissing'
    | 'RequirementMissing'
    | 'WebhookNotAllowed'
    | 'CommandNotAllowed'
    | 'SecretNotFound'
    | 'MailboxNotFound';
  message: string;
}

/** Targets that are possible, and what is wrong with others. */
export interface Targets<T> {
  targets: T[];
  problems: Problem[];
}
