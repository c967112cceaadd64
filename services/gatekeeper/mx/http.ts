/** `POST /v1/recipients`: by whose policy the filter is to treat a message. */
import { z } from 'zod';
import { BadRequest, type JsonRoute } from '../../lib/http.js';
import type { Lookup } from './recipients.js';

const question = z.object({ recipients: z.array(z.string().max(1024)).max(10_000) });

/** How many are looked up at once; what RCPT has just asked for costs nothing. */
const AT_ONCE = 8;

/** Answers in the order of the question. One recipient that can't be told fails all: a temporary failure. */
export function recipientsRoute(lookup: Lookup): JsonRoute {
  return async (body) => {
    const parsed = question.safeParse(body);
    if (!parsed.success) throw new BadRequest('recipients must be a list of addresses');
    const addresses = parsed.data.recipients;
    const recipients: unknown[] = [];
    for (let at = 0; at < addresses.length; at += AT_ONCE) {
      recipients.push(...(await Promise.all(addresses.slice(at, at + AT_ONCE).map((a) => describe(lookup, a)))));
    }
    return { recipients };
  };
}

async function describe(lookup: Lookup, address: string) {
  const { verdict, kind, canonical, policy } = await lookup(address.replace(/^<|>$/g, ''));
  if (verdict?.startsWith('4')) throw new Error('the directory cannot tell now');
  return { address, canonical, kind, verdict, policy };
}
