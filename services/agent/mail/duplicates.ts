/** Which messages are there twice by mistake. Pure but for one question. */

/** A message with a delivery id. */
export interface Candidate {
  readonly id: string;
  /** The same for copies that IMAP's COPY and MOVE made. */
  readonly guid: string;
  readonly folder: string;
  readonly uid: string;
  /** The more the person did with it, the higher. */
  readonly touched: number;
  /** It lies in INBOX as it was delivered, or read. */
  readonly plain: boolean;
}

/**
 * Those to remove. A message with one delivery id may be in a mailbox several times on purpose: COPY keeps its GUID, and a
 * client that uploads a copy keeps its header. Only the top Received field, which the LMTP server wrote, differs between two
 * deliveries. Of these one stays, with all its copies: the one with which the person did more, else the one with the lower GUID
 * (all members choose the same).
 * @param deliveryOf what names the delivery that a message came by; asked only where GUIDs differ.
 */
export async function duplicates(
  messages: readonly Candidate[],
  deliveryOf: (message: Candidate) => Promise<string>,
): Promise<Candidate[]> {
  const superfluous: Candidate[] = [];
  for (const same of groups(messages, ({ id }) => id)) {
    const copies = groups(same, ({ guid }) => guid);
    if (copies.length < 2) continue;
    const deliveries = new Map<string, Candidate[]>();
    for (const copy of copies) {
      const delivery = await deliveryOf(copy[0] as Candidate);
      deliveries.set(delivery, [...(deliveries.get(delivery) ?? []), ...copy]);
    }
    // Without the field nothing is known.
    deliveries.delete('');
    superfluous.push(...[...deliveries.values()].sort(better).slice(1).flat());
  }
  return superfluous;
}

/**
 * Those that came back with another member's volume after the person had removed them here: the delivery was made again here, as the
 * message `guid`, of which there is no trace left. A copy with which somebody did something on the other member is kept.
 */
export function returned(
  messages: readonly Candidate[],
  twins: readonly { readonly id: string; readonly guid: string }[],
): Candidate[] {
  const ours = new Map<string, Set<string>>();
  for (const { id, guid } of twins) ours.set(id, (ours.get(id) ?? new Set()).add(guid));
  return groups(messages, ({ id }) => id)
    .filter((same) => ours.has(same[0]?.id ?? ''))
    .filter((same) => !same.some(({ id, guid }) => ours.get(id)?.has(guid)))
    .filter((same) => same.every(({ plain }) => plain))
    .flat();
}

function groups(messages: readonly Candidate[], key: (message: Candidate) => string): Candidate[][] {
  const found = new Map<string, Candidate[]>();
  for (const message of messages) {
    const group = found.get(key(message));
    if (group) group.push(message);
    else found.set(key(message), [message]);
  }
  return [...found.values()];
}

function better(a: readonly Candidate[], b: readonly Candidate[]): number {
  const touched = (copies: readonly Candidate[]): number => Math.max(...copies.map((copy) => copy.touched));
  const guid = (copies: readonly Candidate[]): string => copies.map((copy) => copy.guid).sort()[0] ?? '';
  return touched(b) - touched(a) || (guid(a) < guid(b) ? -1 : 1);
}
