/** The header of a message, looked at without taking it apart. */

const EMPTY_LINE = Buffer.from('\r\n\r\n');
const DELIVERY_ID = /^x-delivery-id[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*/gim;
const RECEIVED = /^received[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)/im;

/** The name of the field that carries a delivery's id. */
export const DELIVERY_ID_FIELD = 'X-Delivery-Id';

/** The header up to and with the end of its last line; octets as characters. */
function headerOf(content: Buffer): string {
  const end = content.indexOf(EMPTY_LINE);
  return content.toString('latin1', 0, end === -1 ? content.length : end + 2);
}

/** When the last hop took the message (ms since the epoch): the date of the topmost Received field; undefined when there is none. */
export function receivedAt(content: Buffer): number | undefined {
  const field = RECEIVED.exec(headerOf(content))?.[1];
  if (field === undefined) return undefined;
  const time = Date.parse(
    field
      .slice(field.lastIndexOf(';') + 1)
      .replace(/\([^)]*\)/g, '')
      .replace(/[\r\n]+/g, ''),
  );
  return Number.isNaN(time) ? undefined : time;
}

/** The message with its delivery id on top, and with no other, in pieces. */
export function withDeliveryId(content: Buffer, id: string): Buffer[] {
  const own = Buffer.from(`${DELIVERY_ID_FIELD}: ${id}\r\n`);
  const header = headerOf(content);
  const without = header.replace(DELIVERY_ID, '');
  if (without.length === header.length) return [own, content];
  return [own, Buffer.from(without, 'latin1'), content.subarray(header.length)];
}
