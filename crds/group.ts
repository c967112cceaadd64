/** API group of every kind. */
export const GROUP = 'posthorn.dev';

/** The one version that is served and stored. */
export const VERSION = 'v1alpha1';

export const API_VERSION = `${GROUP}/${VERSION}`;

/** `kubectl get mail` lists every kind in this category. */
export const CATEGORY = 'mail';

/** A column of `kubectl get`. */
export interface PrinterColumn {
  readonly name: string;
  readonly type: 'string' | 'date';
  readonly jsonPath: string;
  readonly description: string;
}

/** How the API server and kubectl name a kind. */
export interface KindNames {
  readonly kind: string;
  readonly plural: string;
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly printerColumns: readonly PrinterColumn[];
}

/** The same columns for every kind, so that `kubectl get mail` prints tables of one shape. */
function columns(subject: Omit<PrinterColumn, 'name' | 'type'>): PrinterColumn[] {
  return [
    {
      name: 'Ready',
      type: 'string',
      jsonPath: '.status.conditions[?(@.type=="Ready")].status',
      description: 'Whether what this object asks for works',
    },
    { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp', description: 'Time since creation' },
    { name: 'Address/Domain', type: 'string', ...subject },
    { name: 'Detail', type: 'string', jsonPath: '.status.detail', description: 'The state in one line' },
  ];
}

export const KINDS = {
  MailSystem: {
    kind: 'MailSystem',
    plural: 'mailsystems',
    singular: 'mailsystem',
    shortNames: ['msys'],
    printerColumns: columns({ jsonPath: '.spec.hostname', description: 'Name that clients connect to' }),
  },
  MailDomain: {
    kind: 'MailDomain',
    plural: 'maildomains',
    singular: 'maildomain',
    shortNames: ['mdom'],
    printerColumns: columns({ jsonPath: '.status.domain', description: 'The domain' }),
  },
  Mailbox: {
    kind: 'Mailbox',
    plural: 'mailboxes',
    singular: 'mailbox',
    shortNames: ['mbox'],
    printerColumns: columns({ jsonPath: '.spec.address', description: 'Main address' }),
  },
  ForwardRule: {
    kind: 'ForwardRule',
    plural: 'forwardrules',
    singular: 'forwardrule',
    shortNames: ['fwd'],
    printerColumns: columns({ jsonPath: '.spec.address', description: 'Address whose mail is forwarded' }),
  },
  MailboxMove: {
    kind: 'MailboxMove',
    plural: 'mailboxmoves',
    singular: 'mailboxmove',
    shortNames: ['mmove'],
    printerColumns: columns({ jsonPath: '.spec.to', description: 'Shard that mailboxes move to' }),
  },
} as const satisfies Record<string, KindNames>;

export type KindName = keyof typeof KINDS;
