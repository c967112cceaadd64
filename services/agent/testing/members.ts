/** Members of a shard in one process, on a real directory, with a Dovecot that only listens. */
import { copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { silentLog } from '../../../operator/runtime/log.js';
import type { AgentConfig } from '../config.js';
import { type Member, startMember } from '../member.js';
import type { Core, Mail, Peer, PromiseRequest } from '../ports.js';
import { killAll, killGroup } from '../processes.js';
import { readNumbers } from '../watchdog.js';

const HERE = dirname(fileURLToPath(import.meta.url));
const WATCHDOG = join(HERE, '../../../images/dovecot/bin/watchdog');

/** A place where a member's pod would be: its volume and its memory. */
export interface Pod {
  readonly member: number;
  readonly mail: string;
  readonly run: string;
  readonly config: AgentConfig;
  /** Cuts it from the directory, and what is under way; or lets it reach the directory again. */
  cut(isCut: boolean): void;
}

/** Times a third of the real ones. */
const TIMES: AgentConfig['times'] = {
  ttl: 1_200,
  margin: 500,
  renewEvery: 250,
  readEvery: 150,
  requestTimeout: 500,
  askAfter: 500,
  askEvery: 300,
  quiet: 400,
  stagger: 200,
  handoverPause: 2_000,
};

export interface Shard {
  pod(member: number): Promise<Pod>;
  start(pod: Pod): Promise<Member>;
  /** Members of whose peer APIs nobody can be reached. */
  readonly unreachable: Set<number>;
  /** What the fake mail was asked to do. */
  readonly calls: string[];
  remove(): Promise<void>;
}

/** None of its members has started. */
export async function createShard(shard: string, directory: { readonly port: number }): Promise<Shard> {
  const root = await mkdtemp(join(tmpdir(), 'posthorn-agent-'));
  const runs: string[] = [];
  const cores = new Map<number, Core>();
  const ways: { close(): void }[] = [];
  const unreachable = new Set<number>();
  const calls: string[] = [];

  const mailOf = (core: Core): Mail => ({
    askPromise: async (peer: Peer, request: PromiseRequest) => reach(core, peer)?.promise(request),
    tellReleased: async (peer) => reach(core, peer)?.released(),
    replay: async (epoch) => void calls.push(`${core.state().member} replays for epoch ${epoch}`),
    finalSync: async (users, peer) => {
      calls.push(`${core.state().member} syncs ${users.length} to ${peer.member}`);
      return [];
    },
    local: async () => false,
    close: async () => undefined,
  });
  const reach = (from: Core, { member }: Peer): Core | undefined =>
    unreachable.has(member) || unreachable.has(from.state().member) ? undefined : cores.get(member);

  return {
    unreachable,
    calls,
    pod: async (member) => {
      const folder = await mkdtemp(join(root, `${member}-`));
      const mail = join(folder, 'mail');
      const run = join(folder, 'run');
      await mkdir(mail);
      await mkdir(run);
      runs.push(run);
      // A perl of its own: what is killed by its path is nobody else's.
      const perl = join(folder, 'perl');
      await copyFile('/usr/bin/perl', perl);
      const [lmtp, imap, local, replicator] = (await freePorts(4)) as [number, number, number, number];
      const ports = { local, peer: 0, lmtp, imap, doveadm: 0, replicator };
      const fake = [perl, join(HERE, 'fake-dovecot'), run, run, `${lmtp}`, `${imap}`];
      const way = await openWay(directory.port);
      ways.push(way);
      const config: AgentConfig = {
        shard,
        directory: { leader: '127.0.0.1', hosts: ['127.0.0.1'], port: way.port, user: 'posthorn_store' },
        times: TIMES,
        ports,
        peerHost: '127.0.0.1',
        handover: { before: 200, last: 2_000, total: 5_000 },
        paths: { mail, run, dovecot: run, tls: '' },
        dovecot: { command: fake, watchdog: ['/usr/bin/perl', WATCHDOG], programs: [perl] },
      };
      return { member, mail, run, config, cut: way.cut };
    },
    start: ({ member, config }) =>
      startMember({
        ...{ config, member, tls: undefined, log: silentLog },
        openMail: async (core) => {
          cores.set(member, core);
          return mailOf(core);
        },
      }),
    remove: async () => {
      for (const way of ways) way.close();
      await killAll(undefined, [root]);
      for (const run of runs) for (const pid of readNumbers(join(run, 'watchdog')).slice(0, 1)) killGroup(pid);
      await rm(root, { recursive: true, force: true });
    },
  };
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<ReturnType<typeof createServer>>((resolve) => {
          const server = createServer();
          server.listen(0, '127.0.0.1', () => resolve(server));
        }),
    ),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** A way to a port that can be cut: what is under way gets no answer, as behind a broken network. */
async function openWay(target: number): Promise<{ readonly port: number; cut(isCut: boolean): void; close(): void }> {
  let isCut = false;
  const open = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(target, '127.0.0.1');
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      open.add(from);
      from.on('error', () => undefined);
      from.on('close', () => {
        open.delete(from);
        to.destroy();
      });
      from.on('data', (data) => {
        if (!isCut) to.write(data);
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as { port: number }).port,
    cut: (next) => {
      isCut = next;
      // What has lost something is of no use any more.
      if (!next) for (const socket of open) socket.destroy();
    },
    close: () => {
      server.close();
      for (const socket of open) socket.destroy();
    },
  };
}
