import { askServer } from './ask.js';
import { type DnsAnswer, TYPE } from './message.js';

/** What the DNS says of a name's TXT records: absent is an answer, failed is none. */
export type TxtAnswer = { kind: 'found'; values: string[] } | { kind: 'absent' } | { kind: 'failed'; message: string };

export interface IterateOptions {
  /** Per question. */
  timeoutMs: number;
  /** How often a server is asked that doesn't answer. */
  tries: number;
  /** Of every server; default 53. */
  port?: number;
}

/** Questions for one look-up, those for addresses of name servers included. */
const MAX_QUESTIONS = 60;
const MAX_ALIASES = 8;
/** Response code: the name does not exist (RFC 1035, 4.1.1). */
const NAME_ERROR = 3;

/** TXT records of a name, asked from the root servers on (RFC 1034, 5.3.3). Nothing is cached, nothing is validated. */
export async function iterativeTxt(
  rootServers: readonly string[],
  name: string,
  options: IterateOptions,
): Promise<TxtAnswer> {
  const walk: Walk = { rootServers, options, questions: 0 };
  try {
    return await resolve(walk, name.toLowerCase(), TYPE.TXT, 0);
  } catch (error) {
    return { kind: 'failed', message: (error as Error).message };
  }
}

interface Walk {
  rootServers: readonly string[];
  options: IterateOptions;
  questions: number;
}

async function resolve(walk: Walk, name: string, type: number, aliases: number): Promise<TxtAnswer> {
  if (aliases > MAX_ALIASES) throw new Error(`${name} is an alias of an alias, without an end`);
  let servers = walk.rootServers;
  let zone = '';
  for (;;) {
    const answer = await askAny(walk, servers, name, type);
    const settled = settle(answer, name, type);
    if (typeof settled === 'string') return resolve(walk, settled, type, aliases + 1);
    if (settled !== undefined) return settled;
    const delegation = delegationOf(answer, name, zone);
    if (delegation === undefined) throw new Error(`the servers of "${zone}." know nothing of ${name}`);
    zone = delegation.zone;
    servers = await addressesOf(walk, answer, delegation.servers, aliases);
  }
}

/** What an answer says of the name itself: its records, the name that it is an alias of, or that there is nothing. */
function settle(answer: DnsAnswer, name: string, type: number): TxtAnswer | string | undefined {
  const own = answer.answers.filter((record) => record.name === name);
  const values = own.filter((record) => record.type === type).map(({ data }) => data);
  if (values.length > 0) return { kind: 'found', values };
  const alias = own.find((record) => record.type === TYPE.CNAME);
  if (alias !== undefined) return alias.data;
  return answer.code === NAME_ERROR || answer.authoritative ? { kind: 'absent' } : undefined;
}

/** Names of the servers of a zone that is nearer to the name than the one that was asked. */
function delegationOf(answer: DnsAnswer, name: string, zone: string): { zone: string; servers: string[] } | undefined {
  const below = answer.authorities.filter(
    (record) =>
      record.type === TYPE.NS &&
      record.name.length > zone.length &&
      (name === record.name || name.endsWith(`.${record.name}`)),
  );
  const [first] = below;
  if (first === undefined) return undefined;
  return { zone: first.name, servers: below.filter((record) => record.name === first.name).map(({ data }) => data) };
}

async function addressesOf(
  walk: Walk,
  answer: DnsAnswer,
  servers: readonly string[],
  aliases: number,
): Promise<readonly string[]> {
  const glue = answer.additional
    .filter(({ name, type }) => servers.includes(name) && (type === TYPE.A || type === TYPE.AAAA))
    // Many networks have no IPv6.
    .sort((a, b) => a.type - b.type)
    .map(({ data }) => data);
  if (glue.length > 0) return glue;
  for (const server of servers) {
    const found = await resolve(walk, server, TYPE.A, aliases + 1);
    if (found.kind === 'found') return found.values;
  }
  throw new Error(`the name servers ${servers.join(', ')} have no address`);
}

async function askAny(walk: Walk, servers: readonly string[], name: string, type: number): Promise<DnsAnswer> {
  let last = new Error('there is no name server to ask');
  const turns = Array.from({ length: walk.options.tries }, () => servers).flat();
  for (const server of turns) {
    walk.questions += 1;
    if (walk.questions > MAX_QUESTIONS) throw new Error(`${name} takes more than ${MAX_QUESTIONS} questions`);
    try {
      return usable(await askServer(server, name, type, walk.options), server);
    } catch (error) {
      last = error as Error;
    }
  }
  throw last;
}

function usable(answer: DnsAnswer, server: string): DnsAnswer {
  if (answer.code === 0 || answer.code === NAME_ERROR) return answer;
  throw new Error(`${server} answers with code ${answer.code}`);
}
