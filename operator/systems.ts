import type { MailSystemResolved } from '../crds/mailsystem.js';
import type { Directory } from './directory/directory.js';
import type { SigningCache } from './signing/cache.js';

/** A MailSystem whose directory can be written: what the controllers of domains and mailboxes need of it. */
export interface AttachedSystem {
  /** `namespace/name`. */
  key: string;
  namespace: string;
  name: string;
  spec: MailSystemResolved;
  /** The operator's client certificate that the connections were made with (PEM): a renewed one means to connect anew. */
  certificate: string;
  directory: Directory;
  signing: SigningCache;
}

/** The MailSystems that are attached now. */
export interface Systems {
  get(key: string): AttachedSystem | undefined;
  all(): IterableIterator<AttachedSystem>;
  attach(system: AttachedSystem): void;
  detach(key: string): AttachedSystem | undefined;
  /** Called when a system is attached for the first time, or again with another spec. */
  onAttach(listener: (system: AttachedSystem) => void): void;
}

export function createSystems(): Systems {
  const attached = new Map<string, AttachedSystem>();
  const listeners: ((system: AttachedSystem) => void)[] = [];
  return {
    get: (key) => attached.get(key),
    all: () => attached.values(),
    attach: (system) => {
      attached.set(system.key, system);
      for (const listener of listeners) listener(system);
    },
    detach: (key) => {
      const system = attached.get(key);
      attached.delete(key);
      return system;
    },
    onAttach: (listener) => {
      listeners.push(listener);
    },
  };
}
