/** How doveadm is told whose mailbox is meant. */

/** A person: the address, and the mailbox's UUID where it is known. */
export interface Who {
  readonly user: string;
  readonly uuid?: string | undefined;
}

/**
 * The name for doveadm: by UUID where it is known. Each member's Dovecot looks a name up by itself, at whatever member of the directory
 * answers; an address may have got another mailbox meanwhile, of which one has heard and the other hasn't, and a sync by that
 * address would mix two people's mail. `directory_v1.store_user` knows these names for protocol doveadm only.
 */
export function doveadmUser({ user, uuid }: Who): string {
  return uuid === undefined ? user : `${uuid}@uuid.invalid`;
}

/** The UUID that a name says by itself. */
export function uuidIn(name: string): string | undefined {
  return /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:@uuid\.invalid)?$/.exec(name)?.[1];
}
