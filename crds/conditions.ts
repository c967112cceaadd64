/**
 * What conditions mean, for the reference pages: type → reason → meaning. The operator decides them in
 * operator/<kind>/; test/conditions.test.ts holds both against each other.
 */
import type { ConditionDocs } from './condition.js';

const INVALID_SPEC =
  'The object does not meet the rules of this version, or a domain in it is no valid IDNA. The message names the field.';
const DIRECTORY_UNAVAILABLE =
  'The directory can not be written now. What worked goes on; the operator tries again by itself.';

const component = (description: string) => ({
  description,
  reasons: {
    Running: 'All its pods are ready.',
    Rolling: 'It works, and some of its pods are being replaced by newer ones.',
    PodsNotReady: "Some of its pods are not ready: see the pods' events and logs.",
    NotCreated: 'Its workload does not exist yet.',
  },
});

export const mailboxConditions: ConditionDocs = {
  Ready: {
    description:
      'What is declared is in effect: addresses, passwords, state, script, members. When False, it has the reason of the first condition that is.',
    reasons: { Provisioned: 'All of it works.' },
  },
  Provisioned: {
    description: 'Every member of the directory that servers ask shows the mailbox.',
    reasons: {
      Provisioned: 'It does.',
      WaitingForReplicas:
        'It is written, and some member does not show it yet: until then mail may be deferred, not refused.',
      DirectoryUnavailable: DIRECTORY_UNAVAILABLE,
      InvalidSpec: INVALID_SPEC,
      DomainNotFound: 'No MailDomain in this namespace is for the domain of the address or of an alias.',
      SystemNotFound: 'The MailDomain names no MailSystem that exists.',
      AddressConflict:
        'Another object claimed an address first. The rest of this one works if the address itself is free.',
      UnknownDomain: 'The domain is not in the directory yet.',
      UnknownShard: 'The shard is not in the directory yet.',
      NotAdoptable: 'spec.adopt names no retained mailbox of this namespace.',
      UuidInUse: 'Another Mailbox has the mail that spec.adopt names.',
      Invalid: 'The directory refuses an address as it is written.',
    },
  },
  PasswordReady: {
    description: 'The declared password, and every app password, can be used to log in.',
    reasons: {
      FromSecret: "The Secret's password is in effect.",
      FromLDAP: 'There is no passwordSecretRef, and the LDAP server of the MailSystem checks passwords.',
      NotDeclared: 'There is no passwordSecretRef, so nothing to do.',
      SecretNotFound: 'The Secret does not exist in this namespace. A password that was set before stays.',
      KeyNotFound: 'The Secret has no such key. A password that was set before stays.',
      InvalidPassword: 'The value is empty or can not be a password. A password that was set before stays.',
      NotChecked: 'Unknown: the Secret is read when the mailbox can be provisioned.',
    },
  },
  SieveReady: {
    description: 'With spec.sieve or spec.vacation: the declared script is in effect.',
    reasons: {
      Compiled: 'It is.',
      Pending: 'Unknown: the store has not compiled it yet. The one before is in effect.',
      CompileError: 'It does not compile, and the one before is in effect. The message quotes the compiler.',
    },
  },
  MembersReady: {
    description: 'With spec.members: every member has access.',
    reasons: {
      Shared: 'They have.',
      MemberNotFound: 'There is no Mailbox of that name in this namespace. The other members have access.',
      MemberElsewhere:
        'The member is stored on another shard, or in another MailSystem, and can not read this mailbox.',
      MemberIsItself: 'A Mailbox is no member of itself.',
    },
  },
  Replicated: {
    description:
      'Present and False when the shard should have several copies and has had one only for more than half an hour. It does not count for Ready.',
    reasons: { SingleCopy: 'The mail is on one volume: see ReplicasReady of the MailSystem.' },
  },
  Receiving: {
    description:
      'Present and False while the mailbox takes no mail because of what is in it. It does not count for Ready.',
    reasons: { Full: 'It holds as much as spec.quota allows. Mail for it is refused.' },
  },
  Sending: {
    description:
      'Present while something is known of how the account sends. It does not count for Ready: the object is as it should be.',
    reasons: {
      Throttled: 'The account sent like a spammer and may not send for a time, which the message names.',
      Reported: 'The account was conspicuous and may go on sending.',
    },
  },
};

export const forwardRuleConditions: ConditionDocs = {
  Ready: {
    description:
      'Mail for the address goes to all targets. When False, it has the reason of the first condition that is.',
    reasons: { Forwarding: 'All of it works.' },
  },
  Accepted: {
    description: 'The address and every target are possible.',
    reasons: {
      Accepted: 'They are.',
      InvalidSpec: INVALID_SPEC,
      DomainNotFound: 'No MailDomain in this namespace is for the domain of the address.',
      SystemNotFound: 'The MailDomain has no MailSystem yet.',
      AddressConflict:
        "Another object claimed the address first, so this rule has no effect. To forward a Mailbox's own mail, name it in keepCopy.",
      LoopDetected:
        'Mail would come back to where it was. The message has the chain. The rule stays as it was, or without effect if it is new.',
      ChainTooLong: 'Too many forwards follow each other. The rule stays as it was.',
      TargetNotAllowed:
        'A target is in a domain that only means something inside a cluster or a network, as *.svc, *.local, *.internal and *.invalid do, and that is none of ours. The other targets get mail.',
      TargetNotFound: 'A target is in a domain of ours, and nobody has that address. The other targets get mail.',
      ConsentMissing:
        'A target is in a domain of another namespace whose MailDomain does not accept forwards from this one. The other targets get mail.',
      RequirementMissing:
        'A target, or the Mailbox of keepCopy, has a spec.require, and what spec.require asks for here is less: by this rule senders would come in whom that one turns away. The other targets get mail.',
      WebhookNotAllowed:
        'The URL of a webhook leads into the cluster or is not encrypted, and host and port are not in spec.webhooks.allowHosts of the MailSystem or the rule is in another namespace than its MailSystem; or it has a Secret, and the rule is in another namespace. The other targets get mail.',
      CommandNotAllowed:
        'The rule is in another namespace than its MailSystem, where commands do not run. The other targets get mail.',
      SecretNotFound: 'A webhook or command names a Secret that does not exist. Mail for that target waits.',
      MailboxNotFound: 'keepCopy or sendAs names a Mailbox that does not exist. The targets get mail.',
      Invalid: 'The directory refuses the rule as it is written.',
    },
  },
  Provisioned: {
    description: 'Every member of the directory that servers ask shows the forward.',
    reasons: {
      Provisioned: 'It does.',
      NotAccepted: 'Nothing was changed in the directory: see Accepted.',
      NoTarget: 'No target is left of those declared, so mail for the address is refused: see Accepted.',
      UnknownDomain: 'The domain is not in the directory yet.',
      WaitingForReplicas:
        'It is written, and some member does not show it yet: until then mail may be deferred, not refused.',
      DirectoryUnavailable: DIRECTORY_UNAVAILABLE,
    },
  },
};

export const mailDomainConditions: ConditionDocs = {
  Ready: {
    description:
      'Mail for the domain is accepted and mail from it is signed. When False, it has the reason of the first condition that is.',
    reasons: { Working: 'All of it works. The records in status.records must be in the DNS.' },
  },
  SystemReady: {
    description: 'A MailSystem serves the domain.',
    reasons: {
      Found: 'It does.',
      InvalidSpec: INVALID_SPEC,
      SystemNotFound: 'There is no MailSystem in this namespace, or not the one in spec.system.',
      AmbiguousSystem: 'The namespace has several MailSystems: say which in spec.system.',
      DomainConflict: 'Another MailDomain had the domain first.',
      TenantNotAdmitted:
        'spec.systemNamespace is another namespace, and no such MailSystem there names ours in spec.tenants.namespaces.',
      OwnershipNotVerified:
        'The MailSystem is in another namespace, and the DNS does not show yet that the domain is ours.',
      SystemNotReady: 'The MailSystem exists, and its directory can not be written yet.',
    },
  },
  DKIMReady: {
    description: 'Egress has the key to sign with. Until then mail from the domain waits.',
    reasons: {
      KeyLoaded: 'It has.',
      WaitingForKey: 'The key is not made yet.',
      KeyNotLoaded: 'The key is in its Secret, and is about to be loaded.',
      KeyUnusable: 'The Secret of the key can not be used. The message says why.',
      SigningCacheUnavailable: 'Redis can not be reached, so a new key is not known at egress yet.',
    },
  },
  Provisioned: {
    description: 'The domain is in the directory.',
    reasons: { Provisioned: 'It is: the mx accepts mail for it.', DirectoryUnavailable: DIRECTORY_UNAVAILABLE },
  },
  OwnershipVerified: {
    description:
      'Present when the MailSystem is in another namespace: whether the DNS shows that the domain is ours. A proof that was seen once is remembered.',
    reasons: {
      Verified: 'It does.',
      RecordNotFound: 'The DNS has no such TXT record. It is looked for with growing intervals, at most ten minutes.',
      RecordDiffers: 'There is a TXT record of that name with another value.',
      LookupFailed: 'The DNS could not be asked.',
      RecordMissing: 'The record was seen before and is no longer there. Mail goes on.',
    },
  },
  Deleting: {
    description: 'Present while the deletion of the MailDomain waits.',
    reasons: { InUse: 'Mailboxes or ForwardRules have addresses in the domain, and go on working. Delete them first.' },
  },
};

export const mailSystemConditions: ConditionDocs = {
  Ready: {
    description: 'Every component works. When False, it has the reason of the first condition that is.',
    reasons: { Working: 'It does.' },
  },
  SpecValid: {
    description: 'Present and False when the object can not be understood. What worked goes on as it was.',
    reasons: { InvalidSpec: INVALID_SPEC },
  },
  CertificatesReady: {
    description: 'The internal certificates and the one that clients see are there.',
    reasons: {
      Generated: "They are; the one that clients see is signed by the system's own CA.",
      Valid: 'They are; the one in spec.tls.secretRef is for hostname and in date.',
      SecretNotFound: 'The Secret in spec.tls.secretRef does not exist, or has no tls.crt and tls.key.',
      CertificateUnreadable: 'tls.crt holds no certificate in PEM form.',
      KeyUnreadable: 'tls.key holds no private key in PEM form without a passphrase.',
      KeyMismatch: 'tls.key is not the key of the first certificate in tls.crt.',
      CertificateNotYetValid: 'The certificate is not valid yet.',
      CertificateExpired: 'The certificate has expired: renew it.',
      CertificateNameMismatch: 'The certificate is not for hostname.',
    },
  },
  Applied: {
    description: 'The Kubernetes objects of the system are as declared.',
    reasons: {
      Applied: 'They are.',
      ApplyFailed: 'The API server refused one, or could not be reached. The message says which; it is tried again.',
    },
  },
  VolumesReady: {
    description: 'Every volume has at least the declared size.',
    reasons: {
      AsDeclared: 'It has.',
      Resizing: 'Volumes are being enlarged. Pods run on meanwhile.',
      ResizeRefused:
        'A volume could not be enlarged: its StorageClass does not allow it, or it is not bound. All else is applied.',
    },
  },
  DirectoryReady: {
    description: 'The directory has the present schema and can be written. Mail flows while it is False, changes wait.',
    reasons: {
      UpToDate: 'It has, and it can.',
      DirectoryUnavailable: DIRECTORY_UNAVAILABLE,
    },
  },
  SigningReady: {
    description: 'Egress has every DKIM key. Outgoing mail waits until it has.',
    reasons: {
      KeysLoaded: 'It has.',
      SigningCacheUnavailable: 'Redis can not be reached.',
      WaitingForDirectory: 'The keys are loaded when the directory is ready.',
    },
  },
  DatabaseReady: component('The members of the database run.'),
  FilterReady: component("Redis, which keeps the filter's statistics and the signing keys' cache, runs."),
  MxReady: component('The mx pods run.'),
  SubmissionReady: component('The submission pods run.'),
  EgressReady: component('The egress pods run.'),
  ForwardReady: component('The forward pods run. While they do not, mail for ForwardRules waits at the mx.'),
  CourierReady: component('The courier runs. While it does not, mail for webhooks and commands waits.'),
  LDAPReady: {
    description:
      'With spec.ldap: the Secrets that it names are there. Whether the server answers is seen by the gatekeepers, not here.',
    reasons: {
      Configured: 'They are.',
      SecretNotFound: 'bindSecretRef or caSecretRef names a Secret that does not exist.',
      KeyNotFound: 'A Secret lacks username, password or the certificate.',
    },
  },
  ProxyReady: component('The IMAP proxies run.'),
  StoreReady: component('The stores run.'),
  ReplicasReady: {
    description:
      'Every shard has a primary, and its other copies are up to date. status.shards has the details, docs/guides/nodes.md what to do.',
    reasons: {
      InSync: 'It has, and they are.',
      SingleCopies: 'Every shard has a primary; none is declared with more than one copy.',
      VolumeRefused:
        'The volumes of a shard are not the ones that held its mail, and there is no other copy. The shard stays closed until the former volume is back or the new one is accepted; the message says how.',
      NoPrimary: 'A shard has no primary: its mail waits, and nobody can read it.',
      HandoverOverdue: 'A primary was asked to hand over to another copy more than a minute ago, and has not.',
      NoNode: 'There is no node for a copy: the cluster has fewer nodes than the shard has copies.',
      Away: "The pod of a copy does not run: see its pod's events.",
      Filling: 'The volume of a copy is new and is being filled.',
      Behind: 'A copy is catching up.',
      DrainWaits:
        'A node is being drained that carries a primary, and no other copy is up to date. The eviction of the pod waits.',
      NotChecked: 'Unknown: the directory, which knows the shards, has not been asked yet.',
    },
  },
  Deleting: {
    description: 'Present while the deletion of the MailSystem waits.',
    reasons: {
      InUse: 'MailDomains or Mailboxes live in it, and go on working. Delete them first.',
      Stopping: 'With deletionPolicy Delete: the database is being stopped, then volumes are removed.',
    },
  },
};

export const mailboxMoveConditions: ConditionDocs = {
  Ready: {
    description: 'Every mailbox that was to move has moved.',
    reasons: {
      Done: 'They have.',
      Moving: 'They are moving, or wait for their turn.',
      RolledBack: 'Some did not move and are where they were: status.failures says why. A new MailboxMove tries again.',
    },
  },
  Accepted: {
    description: 'What is asked for is possible.',
    reasons: {
      Accepted: 'It is.',
      InvalidSpec: INVALID_SPEC,
      SystemNotFound: 'There is no MailSystem in this namespace, or not the one in spec.system.',
      AmbiguousSystem: 'The namespace has several MailSystems: say which in spec.system.',
      ShardNotFound: 'The MailSystem has no shard of the name in spec.to or spec.from.',
      MailboxNotFound:
        'spec.mailboxes names a Mailbox that does not exist, has not been placed yet or lives in another MailSystem. The others move.',
      DirectoryUnavailable: DIRECTORY_UNAVAILABLE,
    },
  },
};
