import { type MailSystem, type MailSystemResolved, resolveMailSystem } from '../../crds/mailsystem.js';
import type { ConditionUpdate } from '../runtime/conditions.js';
import { isPaused, type Result } from '../runtime/controller.js';
import { attachDirectory } from './attach.js';
import { ensureCertificates } from './certificates.js';
import { applyChildren, rollOne } from './children.js';
import type { MailSystemDependencies } from './dependencies.js';
import { ldapVerdict } from './ldap.js';
import { nextLook } from './looks.js';
import { bySystem } from './observe.js';
import { ensureRedisUsers } from './redis-users.js';
import { writeSystemStatus } from './report.js';
import { deletionVerdicts, depart, detach, ensureFinalizer, stoppingVerdict } from './teardown.js';

const STOPPING_MS = 2_000;
/** Until a StatefulSet that is being replaced is gone; its pods run on meanwhile. */
const REPLACING_MS = 1_000;

/**
 * Brings one MailSystem about: certificates, workloads, directory, rollout, status. Each step goes as far as it can.
 * Most events are about pods: between two full looks only the rollout and the status are looked at, from the caches.
 */
export async function reconcileMailSystem(
  deps: MailSystemDependencies,
  key: string,
  signal: AbortSignal,
): Promise<Result> {
  const object = deps.mailSystems.cache.get(key);
  if (object === undefined) {
    detach(deps, key);
    return {};
  }
  if (isPaused(object)) return {};
  const spec = resolved(object);
  if ('problem' in spec) {
    await writeSystemStatus(deps, object, undefined, [spec.problem]);
    return {};
  }
  if (object.metadata.deletionTimestamp === undefined) await ensureFinalizer(deps, object);
  else {
    const departure = await depart(deps, key, object, spec.value);
    if (departure === 'released') return {};
    if (departure === 'stopping') return waitForStop(deps, object, spec.value);
  }
  return look(deps, key, object, spec.value, signal);
}

type Resolution = { value: MailSystemResolved } | { problem: ConditionUpdate };

function resolved(object: MailSystem): Resolution {
  try {
    return { value: resolveMailSystem(object.spec) };
  } catch (error) {
    return {
      problem: { type: 'SpecValid', status: 'False', reason: 'InvalidSpec', message: (error as Error).message },
    };
  }
}

async function waitForStop(
  deps: MailSystemDependencies,
  object: MailSystem,
  spec: MailSystemResolved,
): Promise<Result> {
  await writeSystemStatus(deps, object, spec, [stoppingVerdict]);
  return { requeueAfterMs: STOPPING_MS };
}

async function look(
  deps: MailSystemDependencies,
  key: string,
  object: MailSystem,
  spec: MailSystemResolved,
  signal: AbortSignal,
): Promise<Result> {
  const generation = object.metadata.generation ?? 0;
  const last = deps.looks.get(key);
  const due = nextLook(last, generation);
  if (last === undefined || due <= deps.now().getTime()) return fullLook(deps, key, object, spec, signal);
  await rollOne(deps, key);
  await writeSystemStatus(deps, object, spec, [...last.verdicts, ...deletionVerdicts(deps, key, object)]);
  return { requeueAfterMs: due - deps.now().getTime() };
}

async function fullLook(
  deps: MailSystemDependencies,
  key: string,
  object: MailSystem,
  spec: MailSystemResolved,
  signal: AbortSignal,
): Promise<Result> {
  const conclude = deps.looks.begin(key, deps.now().getTime());
  const { clusterDomain } = deps.config;
  const certificates = await ensureCertificates(deps.client, { object, spec, clusterDomain, now: deps.now() });
  const redisUser = await ensureRedisUsers(deps.client, object, deps.pods.byIndex(bySystem, key));
  const children = await applyChildren(deps, object, spec, certificates, signal);
  await rollOne(deps, key);
  const verdicts = [
    certificates.verdict,
    ...(await attachDirectory(deps, { key, object, spec, certificates, redisUser })),
    ...children.verdicts,
    ...(await ldapVerdict(deps.client, object.metadata.namespace ?? '', spec)),
  ];
  await writeSystemStatus(deps, object, spec, [...verdicts, ...deletionVerdicts(deps, key, object)]);
  const generation = object.metadata.generation ?? 0;
  const due = nextLook(conclude(generation, verdicts), generation) - deps.now().getTime();
  if (children.replacing) deps.looks.invalidate(key);
  return { requeueAfterMs: children.replacing ? REPLACING_MS : Math.max(due, 0), error: children.error };
}
