import { names, podHost, type SystemIdentity, serviceHost } from '../../cdk8s/names.js';
import { durabilityOf, type MailSystem, type MailSystemResolved } from '../../crds/mailsystem.js';
import type { Directory } from '../directory/directory.js';
import { DirectoryUnavailable } from '../directory/errors.js';
import type { ShardRow } from '../directory/rows.js';
import type { ConditionUpdate } from '../runtime/conditions.js';
import { ensureDkimKey } from '../signing/ensure.js';
import type { RedisUser } from '../signing/redis.js';
import { DEFAULT_SELECTOR } from '../signing/sync.js';
import type { AttachedSystem } from '../systems.js';
import type { Certificates } from './certificates.js';
import type { MailSystemDependencies } from './dependencies.js';

const [LMTP_PORT, IMAP_PORT, SIEVE_PORT, AGENT_PORT] = [10024, 10143, 14190, 10028];

interface Input {
  key: string;
  object: MailSystem;
  spec: MailSystemResolved;
  certificates: Certificates;
  redisUser: RedisUser;
}

/**
 * Connects to a MailSystem's directory, brings its schema, shards and settings up to date, and fills the signing cache;
 * then the controllers of its MailDomains and Mailboxes may write. Goes on with what can be reached.
 */
export async function attachDirectory(deps: MailSystemDependencies, input: Input): Promise<ConditionUpdate[]> {
  const { key, spec } = input;
  const before = deps.systems.get(key);
  // A renewed certificate means to connect anew.
  const kept = before?.certificate === input.certificates.operator.cert ? before : undefined;
  const system = kept ?? connect(deps, input);
  const problem = await prepareDirectory(system.directory, deps, input);
  if (problem !== undefined) {
    if (kept === undefined) close(system);
    return [
      { type: 'DirectoryReady', status: 'False', reason: 'DirectoryUnavailable', message: problem },
      signingUnknown,
    ];
  }
  if (kept === undefined || JSON.stringify(kept.spec) !== JSON.stringify(spec))
    deps.systems.attach({ ...system, spec });
  if (kept === undefined && before !== undefined) close(before);
  const message = 'The schema is current and the directory can be written.';
  return [{ type: 'DirectoryReady', status: 'True', reason: 'UpToDate', message }, await signing(deps, input)];
}

function connect(deps: MailSystemDependencies, { key, object, spec, certificates, redisUser }: Input): AttachedSystem {
  const identity = identityOf(deps, object);
  const tls = certificates.operator;
  return {
    key,
    namespace: identity.namespace,
    name: identity.name,
    spec,
    certificate: tls.cert,
    ...deps.connect(identity, spec, tls, redisUser),
  };
}

function identityOf(deps: MailSystemDependencies, { metadata }: MailSystem): SystemIdentity {
  return { name: metadata.name, namespace: metadata.namespace ?? '', clusterDomain: deps.config.clusterDomain };
}

function close(system: AttachedSystem): void {
  system.signing.close();
  void system.directory.close().catch(() => undefined);
}

/** @returns what keeps the directory from being written; undefined when nothing does */
async function prepareDirectory(
  directory: Directory,
  deps: MailSystemDependencies,
  input: Input,
): Promise<string | undefined> {
  try {
    await bringUpToDate(directory, deps, input);
    return undefined;
  } catch (error) {
    if (!(error instanceof DirectoryUnavailable)) {
      deps.log.error({ system: input.key, err: error }, 'the directory refused its schema, shards or settings');
    }
    return (error as Error).message;
  }
}

async function bringUpToDate(
  directory: Directory,
  deps: MailSystemDependencies,
  { object, spec }: Input,
): Promise<void> {
  const applied = await directory.migrate();
  if (applied.length > 0)
    deps.log.info({ system: object.metadata.name, migrations: applied }, 'migrated the directory');
  const identity = identityOf(deps, object);
  await directory.projectShards(shardRows(identity, spec.store));
  const { userHour, userDay, domainHour = null } = spec.limits.sending;
  await directory.projectSettings({
    postmaster: spec.postmaster ?? null,
    forwardHost: serviceHost(identity, names(identity.name).forward),
    srsDomain: spec.srs.domain ?? spec.hostname,
    userHour,
    userDay,
    domainHour,
  });
  await maintain(directory, deps, spec.srs.rotateDays);
}

/** Secrets of sender addresses are made and retired by the directory, journals are cut: when that is due, it does something. */
const MAINTENANCE_MS = 3_600_000;
const maintained = new WeakMap<Directory, { at: number; srsRotateDays: number }>();

async function maintain(directory: Directory, { now }: MailSystemDependencies, srsRotateDays: number): Promise<void> {
  const last = maintained.get(directory);
  const at = now().getTime();
  if (last?.srsRotateDays === srsRotateDays && at - last.at < MAINTENANCE_MS) return;
  await directory.maintain({ srsRotateDays });
  maintained.set(directory, { at, srsRotateDays });
}

/** The shards as the directory has them: each with its members, which are found by their pods' names. */
export function shardRows(identity: SystemIdentity, store: MailSystemResolved['store']): ShardRow[] {
  return store.shards.map((shard) => {
    const service = names(identity.name).store(shard.name);
    return {
      name: shard.name,
      host: serviceHost(identity, service),
      lmtpPort: LMTP_PORT,
      imapPort: IMAP_PORT,
      sievePort: SIEVE_PORT,
      replicas: shard.replicas,
      durability: durabilityOf(store, shard),
      withoutReplica: store.withoutReplica,
      members: Array.from({ length: shard.replicas }, (_, member) => ({
        member,
        host: podHost(identity, service, `${service}-${member}`),
        port: AGENT_PORT,
      })),
    };
  });
}

const signingUnknown: ConditionUpdate = {
  type: 'SigningReady',
  status: 'Unknown',
  reason: 'WaitingForDirectory',
  message: 'The signing cache is filled when the directory is ready.',
};

async function signing(deps: MailSystemDependencies, { key, object, spec }: Input): Promise<ConditionUpdate> {
  try {
    await ensureDkimKey(deps.keys, object.metadata.namespace ?? '', {
      domain: spec.hostname,
      selector: DEFAULT_SELECTOR,
      algorithm: 'rsa-2048',
    });
    await deps.syncSigning(key);
    return { type: 'SigningReady', status: 'True', reason: 'KeysLoaded', message: 'The signers have every DKIM key.' };
  } catch (error) {
    const message = `The signers' cache can't be filled (${(error as Error).message}): outgoing mail waits. It is tried again by itself.`;
    return { type: 'SigningReady', status: 'False', reason: 'SigningCacheUnavailable', message };
  }
}
