/** What a mailbox holds, and how two copies differ. */
import { z } from 'zod';

export const inventorySchema = z.object({
  folders: z.array(
    z.object({
      name: z.string(),
      guid: z.string(),
      uidvalidity: z.number(),
      messages: z.number(),
      digest: z.string(),
    }),
  ),
});
export type Inventory = z.output<typeof inventorySchema>;
type Folder = Inventory['folders'][number];

/**
 * In plain words, folder by folder, by GUID since names are people's own business; empty when the copies are equal: the same folders by name and GUID, with the same UIDs'
 * validity and the same messages by GUID, flags and keywords.
 */
export function differences(here: Inventory, there: Inventory): string[] {
  const others = new Map(there.folders.map((folder) => [folder.name, folder]));
  const found: string[] = [];
  for (const folder of here.folders) {
    const other = others.get(folder.name);
    others.delete(folder.name);
    const difference = other === undefined ? onlyOne(folder, 'there') : differ(folder, other);
    if (difference !== undefined) found.push(`folder ${folder.guid}: ${difference}`);
  }
  for (const folder of others.values()) {
    const difference = onlyOne(folder, 'here');
    if (difference !== undefined) found.push(`folder ${folder.guid}: ${difference}`);
  }
  return found;
}

/** INBOX and those that are made by themselves appear at a first look: while empty they are no difference. */
function onlyOne(folder: Folder, where: string): string | undefined {
  return folder.messages === 0 ? undefined : `not ${where}, ${folder.messages} messages`;
}

function differ(here: Folder, there: Folder): string | undefined {
  if (here.messages === 0 && there.messages === 0) return undefined;
  if (here.guid !== there.guid) return 'another folder of that name';
  if (here.uidvalidity !== there.uidvalidity) return `UIDVALIDITY ${here.uidvalidity} here, ${there.uidvalidity} there`;
  if (here.messages !== there.messages) return `${here.messages} messages here, ${there.messages} there`;
  return here.digest === there.digest ? undefined : 'other messages or flags';
}

/** Messages in all folders. */
export function messagesIn(inventory: Inventory): number {
  return inventory.folders.reduce((sum, { messages }) => sum + messages, 0);
}
