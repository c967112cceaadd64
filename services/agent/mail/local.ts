/** Verbs of the agent's local API (127.0.0.1:24010) that are about mail. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { z } from 'zod';
import type { Doveadm } from '../doveadm.js';
import { HttpError, readJson, sendJson } from '../http.js';
import type { Core } from '../ports.js';
import type { Addresses } from './addresses.js';
import type { Gaps } from './gap.js';
import { dedupe, guidsOf, hasDelivery, inventory } from './mailbox.js';
import { doveadmUser, uuidIn, type Who } from './name.js';
import { type Peers, type Target, targetOf } from './peers.js';
import type { UnderWay } from './replay.js';
import type { Twins } from './replayed.js';
import { homeOf, readScripts } from './sieve.js';
import { type SyncResult, sync } from './sync.js';

export interface LocalOptions {
  readonly core: Core;
  /** For what somebody waits for. */
  readonly doveadm: Doveadm;
  /** For syncs and comparisons. */
  readonly slow: Doveadm;
  readonly peers: Peers;
  readonly addresses: Addresses;
  readonly gaps: Gaps;
  readonly underWay: UnderWay;
  readonly twins: Twins;
  readonly socketFolder: string;
  readonly onSync?: (result: SyncResult, seconds: number) => void;
}

const who = z.object({ user: z.string().min(1), uuid: z.string().optional() });
const remote = who.extend({ host: z.string().min(1), port: z.number(), epoch: z.number() });
const syncBody = z.object({
  user: z.string().min(1),
  peer: z.number().optional(),
  host: z.string().optional(),
  port: z.number().optional(),
  epoch: z.number().optional(),
  state: z.string().default(''),
  full: z.boolean().default(false),
  uuid: z.string().optional(),
});
const scripts = z.object({
  uuid: z.string(),
  files: z.array(z.object({ name: z.string(), mtime: z.number(), base64: z.string() })),
  active: z.string(),
});

const DELIVERY = z.string().regex(/^[0-9a-f]{64}$/);

type Route = (options: LocalOptions, request: IncomingMessage) => Promise<unknown>;

/** Answers a request; false when it is none of these verbs. */
export async function local(
  options: LocalOptions,
  request: IncomingMessage,
  response: ServerResponse,
  path: string,
): Promise<boolean> {
  const key = `${request.method} ${path}`;
  const peer = /^\/v1\/peers\/(\d+)(\/[a-z/]+)$/.exec(path);
  const ofPeer = peer ? PEER_ROUTES[`${request.method} ${peer[2]}`] : undefined;
  const plain = Object.hasOwn(ROUTES, key) ? ROUTES[key] : undefined;
  const route: Route | undefined = ofPeer
    ? (given, asked) => ofPeer(given, peerTarget(given.core, Number(peer?.[1])), asked)
    : plain;
  if (!route) return false;
  try {
    sendJson(response, 200, await route(options, request));
  } catch (error) {
    const status = error instanceof HttpError ? error.status : 503;
    if (status === 503) options.core.log.warn({ err: error, path }, 'a request could not be answered');
    sendJson(response, status, { ok: false, error: (error as Error).message });
  }
  return true;
}

/** @throws HttpError 404 for a member that isn't there. */
function peerTarget(core: Core, member: number): Target {
  const peer = core.state().peers.find((one) => one.member === member);
  if (!peer) throw new HttpError(404, `there is no member ${member}`);
  return targetOf(core, peer);
}

/** @throws HttpError 409 where Dovecot belongs to another member's syncs. */
function checkOpen(core: Core): void {
  const { role } = core.state();
  if (role !== 'primary' && role !== 'opening') throw new HttpError(409, `this member is ${role}`);
}

const ROUTES: Readonly<Record<string, Route>> = {
  'POST /v1/sync': runSync,
  'POST /v1/inventory': async ({ core, slow }, request) => {
    const whose = doveadmUser(await readJson(request, who));
    return { folders: await inventory(slow, whose, { signal: core.modeSignal(), timeoutMs: 60_000 }) };
  },
  'POST /v1/search': async ({ core, doveadm, underWay }, request) => {
    const asked = await readJson(request, who.extend({ delivery: DELIVERY }));
    const look = () => hasDelivery(doveadm, doveadmUser(asked), asked.delivery, { signal: core.modeSignal() });
    return { found: await underWay.search(asked.delivery, look) };
  },
  /** The deposit of a primary that followed a lost one has delivered what that one may have, too. */
  'POST /v1/note': async (options, request) => {
    checkOpen(options.core);
    const asked = await readJson(request, who.extend({ uuid: z.string(), delivery: DELIVERY }));
    await noteTwin(options, asked, asked.delivery);
    return { ok: true };
  },
  'POST /v1/dedupe': async ({ core, slow, twins }, request) => {
    checkOpen(core);
    const asked = await readJson(request, who);
    const known = asked.uuid === undefined ? [] : await twins.of(asked.uuid);
    return { removed: await dedupe(slow, doveadmUser(asked), known, { signal: core.modeSignal(), timeoutMs: 60_000 }) };
  },
  'POST /v1/gap': async ({ core, addresses, gaps }, request) => {
    checkOpen(core);
    const asked = await readJson(request, who);
    if (core.state().promotion !== 'failover') return { ok: true, raised: false };
    const mailbox = asked.uuid ?? uuidIn(asked.user) ?? (await addresses.mailboxOf(asked.user));
    if (mailbox === undefined) throw new HttpError(404, `${asked.user} has no mailbox that the directory knows`);
    return { ok: true, raised: await gaps.ensure(asked.user, mailbox) };
  },
  'POST /v1/kick': async ({ doveadm }, request) => {
    const { user: whose } = await readJson(request, who);
    await doveadm.run('kick', { mask: [whose] });
    return { ok: true };
  },
  'GET /v1/sieve': async ({ core }, request) => {
    const uuid = new URL(request.url ?? '', 'http://agent').searchParams.get('uuid') ?? '';
    return readScripts(homeOf(core.mailRoot, uuid));
  },
  'POST /v1/remote/inventory': async ({ peers }, request) => {
    const { host, port, epoch, user: move, uuid } = await readJson(request, remote);
    return peers.inventory({ host, port, epoch, move }, { user: move, uuid });
  },
  'POST /v1/remote/sieve': async ({ core, peers }, request) => {
    const asked = await readJson(request, remote.extend({ uuid: z.string() }));
    const { host, port, epoch, user: move, uuid } = asked;
    await peers.sieve({ host, port, epoch, move }, uuid, await readScripts(homeOf(core.mailRoot, uuid)));
    return { ok: true };
  },
};

const PEER_ROUTES: Readonly<
  Record<string, (options: LocalOptions, target: Target, request: IncomingMessage) => Promise<unknown>>
> = {
  'POST /inventory': async ({ peers }, target, request) => peers.inventory(target, await readJson(request, who)),
  'POST /reset': async ({ peers }, target, request) => {
    const { user: whose, uuid } = await readJson(request, z.object({ user: z.string().min(1), uuid: z.string() }));
    return peers.reset(target, whose, uuid);
  },
  'POST /journal/mark': async ({ peers }, target, request) =>
    peers.mark(target, (await readJson(request, z.object({ uuid: z.string() }))).uuid),
  'POST /journal/purge': async ({ peers }, target, request) => {
    const { uuid, mark } = await readJson(request, z.object({ uuid: z.string(), mark: z.string() }));
    return peers.purge(target, uuid, mark);
  },
  'GET /journal': ({ peers }, target) => peers.summary(target),
  'POST /sieve': async ({ peers }, target, request) => {
    const { uuid, files, active } = await readJson(request, scripts);
    return peers.sieve(target, uuid, { files, active });
  },
};

/** Notes what a delivery has become here. What Sieve has thrown away leaves nothing to note. */
export async function noteTwin({ doveadm, twins, core }: LocalOptions, whose: Who, id: string): Promise<void> {
  if (whose.uuid === undefined) return;
  const guids = await guidsOf(doveadm, doveadmUser(whose), id, { signal: core.modeSignal() });
  for (const guid of new Set(guids)) await twins.note(whose.uuid, { id, guid, at: Date.now() });
}

/** With `uuid` the peer's journal is relieved of what this sync has brought. */
async function runSync(options: LocalOptions, request: IncomingMessage): Promise<unknown> {
  const { core, peers } = options;
  checkOpen(core);
  const asked = await readJson(request, syncBody);
  const target = syncTarget(core, asked);
  const marked = asked.uuid !== undefined && target.move === undefined ? asked.uuid : undefined;
  const mark = marked === undefined ? '' : (await peers.mark(target, marked)).mark;
  const started = performance.now();
  const result = await sync(options, { ...asked, user: doveadmUser(asked), target }, core.modeSignal());
  options.onSync?.(result, (performance.now() - started) / 1000);
  if (!result.ok || marked === undefined) return result;
  const { removed } = await peers.purge(target, marked, mark);
  return { ...result, purged: removed };
}

function syncTarget(core: Core, { user: move, peer, host, port, epoch }: z.output<typeof syncBody>): Target {
  if (peer !== undefined) return peerTarget(core, peer);
  if (host === undefined || epoch === undefined) throw new HttpError(400, 'a sync needs a peer, or host and epoch');
  return { host, port: port ?? 10_028, epoch, move };
}
