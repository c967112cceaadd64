/** The agent's parts, put together: one member of a shard. */
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { Log } from '../../operator/runtime/log.js';
import { type DirectoryPool, openDirectoryPool, type TlsMaterial } from '../lib/directory.js';
import { createAgentClient } from '../replicator/agent.js';
import { openMemory } from '../replicator/memory.js';
import { type Moves, startMoves } from '../replicator/moves.js';
import { type Agent, createAgent } from './agent.js';
import { startApi } from './api.js';
import type { AgentConfig } from './config.js';
import { type LeaseDirectory, leaseDirectory } from './directory.js';
import { type FlushOptions, flushBefore, flushLast } from './handover.js';
import { createAgentMetrics } from './metrics.js';
import { holdersFile, modeConf, probe, roleFile } from './pod.js';
import type { AgentState, Core, Mail, OpenMail } from './ports.js';
import { createStateWatch, type StateWatch } from './state-watch.js';
import { createSupervisor, type Supervisor } from './supervise.js';
import { openVolume } from './volume.js';
import { startWatchdog } from './watchdog.js';

const REPORT_EVERY_MS = 30_000;
const LONGEST_PAUSE_MS = 10 * 60_000;

export interface MemberOptions {
  readonly config: AgentConfig;
  /** The pod's ordinal. */
  readonly member: number;
  /** Undefined: in the clear, for tests. */
  readonly tls: TlsMaterial | undefined;
  readonly openMail: OpenMail;
  readonly log: Log;
}

/** A member of a shard at work. */
export interface Member {
  readonly agent: Agent;
  /** Of the local API. */
  readonly port: number;
  state(): AgentState;
  setTls(material: TlsMaterial): void;
  /** Hands the shard over if it can, lets go, and ends Dovecot. Bounded by the configuration's `handover.total`. */
  stop(): Promise<void>;
}

/**
 * Takes the volume, kills what a former agent has left, and begins.
 * @throws when the volume's record or the pod's folder can't be used, or something can't be killed.
 */
export async function startMember({ config, member, tls, openMail, log }: MemberOptions): Promise<Member> {
  const { shard, paths, ports, times } = config;
  mkdirSync(paths.run, { recursive: true });
  const watchdog = startWatchdog({ command: config.dovecot.watchdog, folder: paths.run, log });
  const processId = randomUUID();
  const volume = await openVolume(paths.mail, { shard, member, process: processId });
  log.info({ ...volume.record(), origin: volume.origin }, 'volume');

  let material = tls;
  const onTls: ((material: TlsMaterial) => void)[] = [];
  const pools = openPools(config, tls);
  onTls.push(pools.lease.setTls, pools.mail.setTls);
  const directory = leaseDirectory(pools.lease, { shard, member, volume: volume.record().uuid });
  const metrics = createAgentMetrics();
  const holders = holdersFile(join(paths.run, 'holders'));
  const writeRole = roleFile(join(paths.run, 'role'));
  const doveadmKey = randomBytes(24).toString('base64url');
  writeFileSync(join(paths.run, 'doveadm.key'), doveadmKey, { mode: 0o600 });

  const flush: FlushOptions = {
    replicatorPort: ports.replicator,
    dirty: join(paths.mail, 'dirty'),
    directory: pools.mail,
    mail: () => mail,
    state: () => states.current(),
    isUp: () => supervisor.current().mode === 'opening' && supervisor.current().up,
    log,
  };
  const agent = createAgent({
    ...{ shard, member, times, directory, volume, metrics, log, dead: holders.all, process: processId },
    lmtpPort: ports.lmtp,
    remember: holders.add,
    onState: (state) => states.set(writeRole(state)),
    flush: (to, signal) => flushLast(flush, to, config.handover.last, signal),
  });
  const states = createStateWatch(agent.state());
  const supervisor = createSupervisor({
    command: config.dovecot.command,
    programs: config.dovecot.programs,
    folder: paths.run,
    watchdog,
    config: (mode, epoch) => modeConf(mode, epoch, doveadmKey, states.current().replicas > 1),
    prepare: (_mode, epoch) => agent.prepare(epoch),
    probe: (mode) => probe(mode, config),
    onChange: agent.changed,
    onUnfit: agent.unfit,
    log,
  });
  // Whoever was here before is dead before anybody is asked for anything.
  await supervisor.begin();

  const core: Core = {
    log,
    registry: metrics.registry,
    directory: pools.mail,
    tls: () => needTls(material),
    onTls: (listener) => void onTls.push(listener),
    state: states.current,
    onState: states.onChange,
    knownEpoch: () => agent.lease().known,
    sawEpoch: agent.sawEpoch,
    promise: agent.promise,
    settled: agent.settled,
    released: agent.released,
    doveadmKey,
    doveadmSocket: join(paths.dovecot, 'doveadm-server'),
    mailRoot: paths.mail,
    modeSignal: agent.modeSignal,
  };
  const { peerHost } = config;
  const { peer: peerPort, doveadm: doveadmPort, lmtp: lmtpPort } = ports;
  const mail: Mail = await openMail(core, { peerHost, peerPort, doveadmPort, lmtpPort, socketFolder: paths.run });
  const handover = createHandover(agent, flush, config);
  const api = await startApi({
    ...{ host: '127.0.0.1', port: ports.local, agent, states, directory, mail, handover, log },
    registry: metrics.registry,
  });
  agent.start({ mail, supervisor });
  const moves = startLeaving(states, api.port, paths.mail, log);
  const chores = startChores({ agent, handover, config, directory, states: states.current, log });
  return {
    agent,
    port: api.port,
    state: states.current,
    setTls: (next) => {
      material = next;
      for (const tell of onTls) tell(next);
    },
    stop: async () => {
      moves.stop();
      await letGo(agent, supervisor, flush, config, log);
      clearInterval(chores);
      await mail.close();
      await api.close();
      await Promise.all([pools.lease.close(), pools.mail.close()]);
    },
  };
}

function needTls(material: TlsMaterial | undefined): TlsMaterial {
  if (material === undefined) throw new Error('this agent has no certificate');
  return material;
}

/** Mailboxes leave a shard with one member by its agent: there is no replicator in such a pod. */
function startLeaving(states: StateWatch, port: number, root: string, log: Log): { stop(): void } {
  const agent = createAgentClient({ port });
  let moves: Moves | undefined;
  const follow = ({ role, replicas }: AgentState): void => {
    if (role === 'primary' && replicas === 1) {
      moves ??= startMoves({ agent, memory: openMemory(join(root, 'replication')), log });
      return;
    }
    void moves?.stop();
    moves = undefined;
  };
  states.onChange(follow);
  follow(states.current());
  return { stop: () => void moves?.stop() };
}

const timeout = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms).unref());

/** The lease has connections of its own and no patience: what isn't answered is asked again. */
function openPools(
  { directory }: AgentConfig,
  tls: TlsMaterial | undefined,
): Readonly<Record<'lease' | 'mail', DirectoryPool>> {
  const { hosts, leader, port, user } = directory;
  const common = { hosts, leader, port, user, tls };
  const hasty = { connectTimeoutMs: 1_000, queryTimeoutMs: 2_000, totalTimeoutMs: 2_500 };
  return {
    lease: openDirectoryPool({ ...common, ...hasty, connections: 6, application: 'posthorn-lease' }),
    mail: openDirectoryPool({ ...common, connections: 4, application: 'posthorn-agent' }),
  };
}

/**
 * Copies most of it while people are connected, then asks the agent to switch. One at a time; nobody is disconnected for a
 * switch that would not succeed.
 */
function createHandover(agent: Agent, flush: FlushOptions, { handover, times }: AgentConfig) {
  let busy = false;
  let pause = times.handoverPause;
  let notBefore = 0;
  const attempt = async (to: number | undefined): Promise<ReturnType<Agent['handover']>> => {
    const target = to ?? flush.state().peers.find(({ inSync }) => inSync)?.member;
    const mayFlush = target !== undefined && flush.state().role === 'primary' && agent.isSettled();
    if (mayFlush && !(await flushBefore(flush, target, handover.before))) {
      notBefore = performance.now() + pause;
      pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
      return { refused: `what member ${target} lacks can not be copied in time` };
    }
    pause = times.handoverPause;
    return agent.handover(to);
  };
  return async (to: number | undefined): Promise<ReturnType<Agent['handover']>> => {
    if (busy || performance.now() < notBefore) return { refused: 'a handover is under way, or has just failed' };
    busy = true;
    try {
      return await attempt(to);
    } finally {
      busy = false;
    }
  };
}

/** Whatever happens to the lease, in the end there is no Dovecot. */
async function letGo(
  agent: Agent,
  supervisor: Supervisor,
  flush: FlushOptions,
  config: AgentConfig,
  log: Log,
): Promise<void> {
  const inOrder = async (): Promise<void> => {
    const target = flush.state().peers.find(({ inSync }) => inSync)?.member;
    if (target !== undefined && flush.state().role === 'primary' && agent.isSettled())
      await flushBefore(flush, target, config.handover.before);
    await agent.stop();
  };
  const done = inOrder().catch((error: unknown) => log.error({ err: error }, 'letting go failed'));
  await Promise.race([done, timeout(config.handover.total)]);
  supervisor.set({ mode: 'stopped', epoch: 0, deadline: 0 });
  while (!supervisor.isDown()) await timeout(20);
}

/** What nobody waits for: a switch that the directory wants, and how full the volume is. */
function startChores(parts: {
  readonly agent: Agent;
  readonly handover: ReturnType<typeof createHandover>;
  readonly config: AgentConfig;
  readonly directory: LeaseDirectory;
  readonly states: () => AgentState;
  readonly log: Log;
}): NodeJS.Timeout {
  const { agent, handover, config, directory, states, log } = parts;
  let reportedAt = 0;
  const chores = async (): Promise<void> => {
    const wanted = agent.lease().row?.wanted;
    if (wanted != null && wanted !== states().member && states().role === 'primary') {
      const answer = await handover(wanted);
      if ('refused' in answer) log.info({ to: wanted, refused: answer.refused }, 'the wanted switch has to wait');
    }
    if (performance.now() - reportedAt < REPORT_EVERY_MS && reportedAt !== 0) return;
    reportedAt = performance.now();
    const { bsize, blocks, bavail } = await statfs(config.paths.mail);
    // Rounded, so that nothing is written when nothing has changed to speak of.
    const usedBytes = Math.round(((blocks - bavail) * bsize) / 2 ** 26) * 2 ** 26;
    await directory.report({ usedBytes, totalBytes: blocks * bsize, state: states().role });
  };
  return setInterval(() => void chores().catch((error: unknown) => log.debug({ err: error }, 'chores')), 1_000);
}
