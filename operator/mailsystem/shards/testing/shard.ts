import type { Copy, Shard, StorePod } from '../observe.js';

type CopyFields = Partial<Omit<Copy, 'pod'>> & { pod?: Partial<StorePod> | undefined };

/** A shard `a` of system `mail` whose member 0 is the primary and all of whose copies are well, but for what is given. */
export function shard(copies: readonly CopyFields[], fields: Partial<Shard> = {}): Shard {
  return {
    name: 'a',
    set: 'mail-store-a',
    epoch: 4,
    primary: 0,
    wanted: null,
    mailboxes: 310,
    durability: 'Replicated',
    withoutReplica: 'Degrade',
    ...fields,
    copies: copies.map(copy),
  };
}

function copy({ pod, ...fields }: CopyFields, member: number): Copy {
  return {
    member,
    node: 'fine',
    volume: `volume-${member}`,
    seeded: true,
    inSync: true,
    lagChanges: 0,
    lagSeconds: 0,
    ...fields,
    pod: {
      name: `mail-store-a-${member}`,
      uid: `uid-${member}`,
      member,
      revision: 'new',
      ready: true,
      readySince: 1,
      terminating: false,
      node: `node-${member}`,
      unschedulable: false,
      replicates: true,
      labelled: member === 0,
      ...pod,
    },
  };
}

/** The same without the pod of one member. */
export function withoutPod(of: Shard, member: number): Shard {
  return { ...of, copies: of.copies.map((one) => (one.member === member ? { ...one, pod: undefined } : one)) };
}
