import type { MailSystemResolved } from '../crds/mailsystem.js';
import type { Templates } from './template.js';

/** Workloads, as the label `app.kubernetes.io/component` names them. */
export type Component =
  | 'mx'
  | 'submission'
  | 'egress'
  | 'forward'
  | 'courier'
  | 'proxy'
  | 'store'
  | 'redis'
  | 'postgres'
  | 'pooler';

/** Roles that own an internal certificate (Secret `SYSTEM-tls-ROLE`): every component. */
export type TlsRole = Component;

/** A size of a volume claim and the class that serves it (absent: the cluster's default class). */
export interface VolumeRequest {
  /** Kubernetes quantity, for example `20Gi`. */
  readonly size: string;
  readonly storageClassName?: string | undefined;
}

/** An internal client of the SMTP listeners, known by its public key. */
export interface Peer {
  /** SHA-256 of the public key as Postfix prints it: `AA:BB:…`, 32 bytes. */
  readonly fingerprint: string;
  readonly role: TlsRole;
}

/** Where images come from; `spec.images` overrides each field. */
export interface Images {
  /** `localhost/posthorn` gives `localhost/posthorn/COMPONENT:TAG`. */
  readonly prefix: string;
  readonly tag: string;
  readonly pullPolicy: 'Always' | 'IfNotPresent' | 'Never';
}

/** Everything that decides the Kubernetes children of one MailSystem. */
export interface MailSystemContext {
  readonly name: string;
  readonly namespace: string;
  /** The MailSystem's uid: when given, every child carries a controller reference to it. */
  readonly uid?: string | undefined;
  /** With every default filled in. */
  readonly spec: MailSystemResolved;
  /** For example `cluster.local`, without dots at either end. */
  readonly clusterDomain: string;
  /** IP address of the cluster's DNS service. */
  readonly clusterDns: string;
  readonly images: Images;
  readonly peers: readonly Peer[];
  /**
   * Opaque strings (hashes) of inputs outside this context that a component reads only at its start,
   * for example the Secret of an external database; a change rolls that component.
   */
  readonly restartHashes?: Readonly<Partial<Record<Component, string>>> | undefined;
  /** The daemons' configuration templates. Default: read once from the images' folder. */
  readonly templates?: Templates | undefined;
}

/** What `mailSystemObjects` returns: plain JSON, ready for server-side apply. */
export interface KubernetesObject {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta;
  [field: string]: unknown;
}

/** The parts of metadata that we write. */
export interface ObjectMeta {
  name: string;
  namespace?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  ownerReferences?: OwnerReference[];
}

/** Reference from a child to the MailSystem that owns it. */
export interface OwnerReference {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller?: boolean;
  blockOwnerDeletion?: boolean;
}
