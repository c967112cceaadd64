import type { Mailbox } from '../../crds/mailbox.js';
import type { Directory } from '../directory/directory.js';
import { DirectoryUnavailable } from '../directory/errors.js';
import type { MailboxOutcome, MailboxRow } from '../directory/rows.js';
import { groupBy, removeFromAll, waitForReplicas } from '../projecting.js';
import { isPaused, type Result } from '../runtime/controller.js';
import type { AttachedSystem } from '../systems.js';
import { enqueueClaimants, type GoneMailbox, type MailboxDependencies } from './dependencies.js';
import { claimedAddresses, desiredMailbox, uuidOf } from './desired.js';
import { learnInventory } from './inventory.js';
import { memberNames } from './members.js';
import { pardon } from './pardon.js';
import type { AppPasswordPlan, KnownPassword, PasswordPlan } from './password.js';
import { candidates, placeMailbox } from './placement.js';
import { type Plan, report, wasProvisioned } from './report.js';
import { declaredRow } from './row.js';

/** While the directory is away: what was declared meanwhile is tried again so often. */
const UNAVAILABLE_MS = 3_000;
/** While a new MailSystem starts, its Mailboxes say nothing for so long. */
const QUIET_MS = 15_000;

/** Brings many Mailboxes to their directories: one statement per MailSystem, then a status write for each that changed. */
export async function reconcileMailboxes(
  deps: MailboxDependencies,
  keys: readonly string[],
): Promise<Map<string, Result>> {
  const results = new Map<string, Result>();
  await tombstoneGone(deps, keys, results);
  const declared = keys.flatMap((key) => {
    const object = deps.mailboxes.cache.get(key);
    return object === undefined || isPaused(object) || results.has(key) ? [] : [declare(deps, key, object)];
  });
  const groups = groupBy(declared, ({ desired }) => desired?.system);
  await Promise.all([...groups].map(([system, group]) => reconcileGroup(deps, system, group, results)));
  return results;
}

type Declared = Omit<Plan, 'password' | 'apps'>;

/** App passwords that were not looked at. */
const unseen: AppPasswordPlan = { rows: undefined, problems: [] };

function declare(deps: MailboxDependencies, key: string, object: Mailbox): Declared {
  const namespace = object.metadata.namespace ?? '';
  const { mailbox, problems } = desiredMailbox(object, { domain: (domain) => deps.hosting(namespace, domain) });
  return { key, object, desired: mailbox, problems };
}

async function reconcileGroup(
  deps: MailboxDependencies,
  systemKey: string | undefined,
  group: readonly Declared[],
  results: Map<string, Result>,
): Promise<void> {
  // Passwords are read and hashed only when they can be written.
  const peeked = (): Plan[] =>
    group.map((one) => ({ ...one, password: deps.passwords.peek(one.object), apps: unseen }));
  if (systemKey === undefined) return report(deps, peeked(), results, {});
  const system = deps.systems.get(systemKey);
  const settled = () => peeked().filter((plan) => isSettled(deps, plan.object));
  if (system === undefined) return awaitSystem(deps, systemKey, group, results, settled);
  try {
    await writeGroup(deps, system, group, results);
  } catch (error) {
    const unavailable = error instanceof DirectoryUnavailable;
    if (unavailable) await report(deps, settled(), results, { unavailable: error.message });
    for (const { key, object } of group) results.set(key, retryOf(object, error));
  }
}

/** Somebody may have been locked out: that must not wait for a back-off of minutes when the directory is there again. */
function retryOf(object: Mailbox, error: unknown): Result {
  return error instanceof DirectoryUnavailable && !wasProvisioned(object)
    ? { requeueAfterMs: UNAVAILABLE_MS }
    : { error };
}

/** A system that is not attached yet: its attaching makes all its Mailboxes be looked at again. */
async function awaitSystem(
  deps: MailboxDependencies,
  systemKey: string,
  group: readonly { key: string }[],
  results: Map<string, Result>,
  settled: () => Plan[],
): Promise<void> {
  for (const { key } of group) results.set(key, { requeueAfterMs: QUIET_MS });
  // A restarted operator attaches its systems first: thousands of statuses would be written twice for nothing.
  if (deps.now().getTime() - deps.startedAt.getTime() < QUIET_MS) return;
  const unavailable = `The directory of MailSystem ${systemKey} is not ready yet; its conditions tell why.`;
  await report(deps, settled(), results, { unavailable });
}

async function writeGroup(
  deps: MailboxDependencies,
  system: AttachedSystem,
  group: readonly Declared[],
  results: Map<string, Result>,
): Promise<void> {
  await learnInventory(deps, system);
  const plans = await plansOf(deps, group, results);
  if (plans.length === 0) return;
  const { outcomes, lagging } = await project(deps, system, plans);
  await pardon(deps, system, plans);
  await report(deps, plans, results, {
    outcomes,
    lagging,
    adoptable: await adoptableOf(system.directory, plans, outcomes),
  });
}

/** One that can't be planned (its Secret can't be read now) doesn't keep the others. */
async function plansOf(
  deps: MailboxDependencies,
  group: readonly Declared[],
  results: Map<string, Result>,
): Promise<Plan[]> {
  const plans = await Promise.all(
    group.map(async (one) => {
      try {
        const known = deps.known.get(uuidOf(one.object));
        const password = await deps.passwords.plan(one.object, known);
        return { ...one, password, apps: await deps.passwords.planApps(one.object, known) };
      } catch (error) {
        results.set(one.key, { error });
        return undefined;
      }
    }),
  );
  return plans.filter((plan) => plan !== undefined);
}

/** Until a Mailbox has once been looked at, or is a while old, a system that starts is no news. */
function isSettled(deps: MailboxDependencies, object: Mailbox): boolean {
  const age = deps.now().getTime() - Date.parse(object.metadata.creationTimestamp ?? '');
  return object.status?.observedGeneration !== undefined
    ? object.status.observedGeneration !== object.metadata.generation
    : age > QUIET_MS;
}

async function project(
  deps: MailboxDependencies,
  system: AttachedSystem,
  plans: readonly Plan[],
): Promise<{ outcomes: Map<string, MailboxOutcome>; lagging: readonly string[] }> {
  const rows = plans.map((plan) => rowOf(deps, plan, system));
  const { value, lsn } = await system.directory.projectMailboxes(rows);
  const outcomes = new Map(plans.map((plan, index) => [plan.key, value[index] as MailboxOutcome]));
  for (const plan of plans) learn(deps, plan, outcomes.get(plan.key));
  return { outcomes, lagging: await waitForReplicas(system.directory, lsn) };
}

function rowOf(
  deps: MailboxDependencies,
  { object, desired, password, apps }: Plan,
  system: AttachedSystem,
): MailboxRow {
  if (desired === undefined) throw new Error(`Mailbox ${object.metadata.name}: nothing to project`);
  const loads = deps.shards.get(system.key)?.loads;
  const shards = candidates(system.spec.store.shards, loads, deps.emptied(system.key));
  return {
    ...declaredRow(object, desired, system),
    shard: placeMailbox(desired.uuid, shards, shardsOfMembers(deps, object)),
    createdAt: object.metadata.creationTimestamp ?? '',
    adopt: object.spec.adopt !== undefined,
    password: passwordOf(password),
    appPasswords: apps.rows,
  };
}

function shardsOfMembers({ mailboxes }: MailboxDependencies, object: Mailbox): string[] {
  const { namespace } = object.metadata;
  return memberNames(object).flatMap((name) => mailboxes.cache.get(`${namespace}/${name}`)?.status?.shard ?? []);
}

function passwordOf(plan: PasswordPlan): MailboxRow['password'] {
  if (plan.kind === 'new') return plan.password;
  return plan.kind === 'none' ? null : undefined;
}

/** Remembers what the directory has now, and lets those look again whose claim this write may have touched. */
function learn(
  deps: MailboxDependencies,
  { object, desired, password, apps }: Plan,
  outcome: MailboxOutcome | undefined,
): void {
  if (outcome === undefined || desired === undefined || outcome.result === 'refused') return;
  const before = deps.known.get(desired.uuid);
  deps.known.set(desired.uuid, { system: desired.system, ...passwordsAfter(before, object, password, apps) });
  if (outcome.result !== 'written') return;
  for (const address of claimedAddresses(object)) {
    const others = [...deps.mailboxes.cache.keysByIndex('address', address)];
    if (others.length > 1) enqueueClaimants(deps, address);
  }
}

function passwordsAfter(
  before: KnownPassword | undefined,
  object: Mailbox,
  password: PasswordPlan,
  { rows }: AppPasswordPlan,
): KnownPassword {
  const objectUid = object.metadata.uid ?? '';
  const kept = before?.objectUid === objectUid ? before : { source: null, apps: {} };
  const source = passwordOf(password) === undefined ? kept.source : (passwordOf(password)?.source ?? null);
  const apps = rows === undefined ? kept.apps : Object.fromEntries(rows.map((row) => [row.name, row.source]));
  return { objectUid, source, apps };
}

/** For mailboxes that were made just now: is there kept mail of the same address? */
async function adoptableOf(
  directory: Directory,
  plans: readonly Plan[],
  outcomes: ReadonlyMap<string, MailboxOutcome>,
): Promise<Map<string, string[]>> {
  const fresh = plans.filter(
    ({ key, object }) =>
      outcomes.get(key)?.result === 'written' && object.spec.adopt === undefined && object.status?.uuid === undefined,
  );
  const found = new Map<string, string[]>();
  if (fresh.length > 20) return found;
  for (const { key, object, desired } of fresh) {
    const kept = await directory.adoptable(desired?.address ?? '', object.metadata.namespace ?? '');
    found.set(
      key,
      kept.map((mailbox) => mailbox.uuid),
    );
  }
  return found;
}

interface Gone {
  key: string;
  entry: GoneMailbox;
}

/**
 * Objects that are gone: their addresses become free, their mail is kept or marked for removal. Told are the directories that
 * serve their namespace, and the one that they were last seen in; one that is attached later finds out by comparison.
 */
async function tombstoneGone(
  deps: MailboxDependencies,
  keys: readonly string[],
  results: Map<string, Result>,
): Promise<void> {
  const gone: Gone[] = keys.flatMap((key) => (deps.gone.get(key) ?? []).map((entry) => ({ key, entry })));
  for (const [namespace, group] of groupBy(gone, ({ key }) => key.slice(0, key.indexOf('/')))) {
    try {
      await tombstoneIn(deps, namespace, group);
      for (const { key, entry } of group) forget(deps, key, entry);
    } catch (error) {
      for (const { key } of group) results.set(key, { error });
    }
  }
}

async function tombstoneIn(deps: MailboxDependencies, namespace: string, group: readonly Gone[]): Promise<void> {
  const mailboxes = group.map(({ entry: { uuid, objectUid } }) => ({ uuid, objectUid }));
  const seen = new Set(mailboxes.map(({ uuid }) => deps.known.get(uuid)?.system));
  const systems = [...deps.systems.all()].filter(({ key }) => seen.has(key) || deps.namespacesOf(key).has(namespace));
  await removeFromAll(systems, deps.isLeaving, (directory) => directory.tombstoneMailboxes(mailboxes));
}

function forget(deps: MailboxDependencies, key: string, entry: GoneMailbox): void {
  const system = deps.known.get(entry.uuid)?.system;
  if (system !== undefined) deps.reports.await(system, entry.uuid, false);
  const rest = (deps.gone.get(key) ?? []).filter((other) => other !== entry);
  if (rest.length === 0) deps.gone.delete(key);
  else deps.gone.set(key, rest);
  if (deps.known.get(entry.uuid)?.objectUid === entry.objectUid) deps.known.delete(entry.uuid);
  for (const address of entry.addresses) enqueueClaimants(deps, address);
}
