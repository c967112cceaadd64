/**
 * Two members of a shard without a cluster: the image's Dovecot with the store's own configuration, and beside each the mail side
 * of an agent in this process. Only the directory is a stand-in (a file of users), and the core, whose answers a check sets.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Registry } from 'prom-client';
import { loadTemplates, renderRole } from '../../../cdk8s/template.js';
import { createLog, silentLog } from '../../../operator/runtime/log.js';
import { type Authority, createAuthority } from '../../../operator/runtime/testing/certificates.js';
import { connectDoveadm, type Doveadm, type Row } from '../../../services/agent/doveadm.js';
import { openMail } from '../../../services/agent/mail/mail.js';
import type { AgentState, Core, Mail, Peer } from '../../../services/agent/ports.js';
import type { DirectoryPool, TlsMaterial } from '../../../services/lib/directory.js';
import { createLmtpClient } from '../../../services/lib/lmtp/client.js';

const PREFIX = process.env.POSTHORN_IMAGE_PREFIX ?? 'localhost/posthorn';
const TAG = process.env.POSTHORN_IMAGE_TAG ?? 'dev';
const KEY = 'the-agents-key';
const PORTS = { lmtp: 24000, imap: 14300, sieve: 24190, doveadm: 24245 } as const;
const VMAIL = '5000:5000';

const podmanConf = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'posthorn/images/containers.conf');
if (existsSync(podmanConf)) process.env.CONTAINERS_CONF ??= podmanConf;

const sh = (command: string): string =>
  execFileSync('bash', ['-ceuo', 'pipefail', command], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

/** Addresses and their mailboxes; a check may change them. */
export type Directory = Record<string, string>;

export interface Member {
  readonly number: number;
  readonly doveadm: Doveadm;
  readonly mail: Mail;
  /** What the core says; changes are told to nobody. */
  state: AgentState;
  known: number;
  readonly mode: { controller: AbortController };
  /** Epochs that were said to be settled. */
  readonly settled: number[];
  readonly peerPort: number;
  readonly imapPort: number;
  /** `/srv/mail`, on this machine. */
  readonly root: string;
  /** The local API. */
  ask(method: string, path: string, body?: object): Promise<{ status: number; body: never }>;
  /** By LMTP; the reply. `content` ends its lines with CRLF. */
  deliver(to: string, content: string | readonly Buffer[]): Promise<string>;
  /** Rows of doveadm's fetch. */
  messages(user: string, fields?: readonly string[]): Promise<Row[]>;
  logs(): string;
  close(): Promise<void>;
}

export interface Shard {
  readonly root: string;
  readonly authority: Authority;
  readonly tls: TlsMaterial;
  readonly directory: Directory;
  readonly members: readonly [Member, Member];
  /** Makes a member primary of an epoch; the other is a replica. */
  primary(member: Member, epoch: number, promotion?: AgentState['promotion']): void;
  close(): Promise<void>;
}

/** Starts both. Root and podman are needed; nothing but loopback is used. */
export async function startShard(directory: Directory): Promise<Shard> {
  // Dovecot runs as another user than this process.
  process.umask(0);
  const root = mkdtempSync(join(tmpdir(), 'posthorn-replicate-'));
  chmodSync(root, 0o755);
  const authority = await createAuthority();
  const { cert, key } = await authority.issue({ cn: 'posthorn_store', names: ['localhost'] });
  const tls = { ca: authority.cert, cert, key };
  const members = [await startMember(root, 0, tls, directory), await startMember(root, 1, tls, directory)] as const;
  const shard: Shard = {
    root,
    authority,
    tls,
    directory,
    members,
    primary: (member, epoch, promotion = 'planned') => {
      for (const one of members) {
        const role = one === member ? 'primary' : 'replica';
        const openedAt = one === member ? Date.now() : 0;
        const peers = members.filter((other) => other !== one).map(asPeer);
        one.mode.controller.abort();
        one.mode.controller = new AbortController();
        one.known = Math.max(one.known, epoch);
        one.state = { ...one.state, role, epoch, openedAt, peers, promotion };
      }
    },
    close: async () => {
      for (const member of members) await member.close();
      rmSync(root, { recursive: true, force: true });
    },
  };
  shard.primary(members[0], 1, 'restart');
  return shard;
}

function asPeer({ number, peerPort, state }: Member): Peer {
  return { member: number, host: 'localhost', port: peerPort, volume: state.volume, seeded: true, inSync: true };
}

async function startMember(root: string, number: number, tls: TlsMaterial, directory: Directory): Promise<Member> {
  const folder = join(root, `member-${number}`);
  const port = (name: keyof typeof PORTS): number => PORTS[name] + 10_000 + number * 100;
  const run = startDovecot(folder, number, port, directory);
  const doveadm = connectDoveadm({ port: port('doveadm'), key: KEY });
  const lmtp = createLmtpClient({ port: port('lmtp'), name: 'checks' });
  const parts = { mode: { controller: new AbortController() }, settled: [] as number[], known: 1 };
  const core: Core = {
    log: process.env.CHECKS_LOG ? createLog({ name: `member ${number}`, level: 'debug' }) : silentLog,
    registry: new Registry(),
    directory: standIn(directory),
    tls: () => tls,
    onTls: () => undefined,
    state: () => member.state,
    onState: () => undefined,
    knownEpoch: () => member.known,
    sawEpoch: (epoch) => {
      member.known = Math.max(member.known, epoch);
    },
    promise: () => false,
    settled: (epoch) => void parts.settled.push(epoch),
    released: () => undefined,
    doveadmKey: KEY,
    doveadmSocket: join(folder, 'run/dovecot/doveadm-server'),
    mailRoot: join(folder, 'mail'),
    modeSignal: () => parts.mode.controller.signal,
  };
  await untilUp(doveadm);
  const peerPort = 20_028 + number;
  const mail = await openMail(core, {
    peerHost: 'localhost',
    peerPort,
    doveadmPort: port('doveadm'),
    lmtpPort: port('lmtp'),
    socketFolder: run,
  });
  const api = await serveLocal(mail);
  const member: Member = {
    number,
    doveadm,
    mail,
    state: stateOf(number),
    known: 1,
    mode: parts.mode,
    settled: parts.settled,
    peerPort,
    imapPort: port('imap'),
    root: join(folder, 'mail'),
    ask: (method, path, body) => askLocal(api, method, path, body),
    deliver: async (to, content) => {
      const pieces = typeof content === 'string' ? [Buffer.from(content)] : content;
      const message = { sender: 'eve@outside.example', recipients: [to], content: pieces };
      const [outcome] = await lmtp.deliver(message, 20_000);
      return `${outcome?.reply.code} ${outcome?.reply.lines.join(' ')}`;
    },
    messages: (user, field = ['mailbox', 'uid', 'guid', 'flags', 'hdr.subject']) =>
      doveadm.run('fetch', { user, field, query: ['all'] }),
    logs: () => sh(`podman logs ${nameOf(number)} 2>&1`),
    close: async () => {
      await mail.close();
      doveadm.close();
      lmtp.close();
      api.close();
      sh(`podman rm -f -t 1 ${nameOf(number)}`);
    },
  };
  return member;
}

const nameOf = (number: number): string => `ph-replicate-${number}`;

function startDovecot(
  folder: string,
  number: number,
  port: (name: keyof typeof PORTS) => number,
  directory: Directory,
): string {
  for (const path of ['config', 'mail', 'run/dovecot', 'tmp', 'secret', 'sockets']) {
    mkdirSync(join(folder, path), { recursive: true });
  }
  sh(`chown ${VMAIL} ${folder}/{mail,run,run/dovecot,tmp,sockets}`);
  writeFileSync(join(folder, 'secret/password'), 'the-shards-secret');
  const given = { DIRECTORY_HOSTS: 'none', DIRECTORY_LEADER: 'none', DIRECTORY_PORT: '1', EGRESS_HOST: 'none' };
  const more = { HOSTNAME: 'mail.example.org', SHARD: 'a', REPLICAS: '2', POST_LOGIN: '' };
  for (const [file, text] of Object.entries(renderRole(loadTemplates(), 'dovecot', 'store', { ...given, ...more }))) {
    writeFileSync(join(folder, 'config', file), file === 'dovecot.conf' ? adapt(text, port) : text);
  }
  // By address, and by UUID as store_user answers doveadm.
  const users = Object.entries(directory).flatMap(([address, uuid]) =>
    [address, `${uuid}@uuid.invalid`].map(
      (name) => `${name}:::::/srv/mail/mailboxes/${uuid.slice(0, 2)}/${uuid}::uuid=${uuid}`,
    ),
  );
  writeFileSync(join(folder, 'config/users'), `${users.join('\n')}\n`);
  writeFileSync(join(folder, 'config/mode.conf'), `doveadm_api_key = ${KEY}\nprotocols = imap lmtp sieve\n`);
  const sockets = join(folder, 'sockets');
  const mounts = `-v ${folder}/config:/config:ro -v ${folder}/mail:/srv/mail -v ${folder}/run:/run -v ${folder}/tmp:/tmp -v ${folder}/secret:/secret:ro -v ${sockets}:${sockets}`;
  sh(`podman rm -f -t 1 ${nameOf(number)} >/dev/null 2>&1 || true`);
  sh(
    `podman run -d --name ${nameOf(number)} --network=host --read-only --security-opt=no-new-privileges --cap-drop=ALL --pull=never \
     ${mounts} --entrypoint dovecot ${PREFIX}/dovecot:${TAG} -F -c /config/dovecot.conf`,
  );
  return sockets;
}

/** The store's own configuration, with the directory as a file, and ports of its own since both are on this machine. */
function adapt(text: string, port: (name: keyof typeof PORTS) => number): string {
  const sql = /^userdb sql \{[\s\S]*?^\}\n/m;
  if (!sql.test(text)) throw new Error('the userdb has another form than this check expects');
  const users = 'userdb passwd-file {\n  passwd_file_path = /config/users\n}\n';
  let adapted = text.replace(sql, users).replace('!include /run/agent/mode.conf', '!include /config/mode.conf');
  for (const name of Object.keys(PORTS) as (keyof typeof PORTS)[]) {
    adapted = adapted.replace(`port = ${PORTS[name]}`, `port = ${port(name)}`);
  }
  return adapted;
}

async function untilUp(doveadm: Doveadm): Promise<void> {
  for (const end = Date.now() + 20_000; ; await sleep(200)) {
    try {
      await doveadm.run('who', {});
      return;
    } catch (error) {
      if (Date.now() > end) throw error;
    }
  }
}

function stateOf(member: number): AgentState {
  return {
    shard: 'a',
    member,
    role: 'replica',
    epoch: 1,
    openedAt: 0,
    volume: `00000000-0000-4000-8000-00000000000${member}`,
    seeded: true,
    replicas: 2,
    peers: [],
    durability: 'Replicated',
    withoutReplica: 'Defer',
    lmtp: 0,
    promotion: 'none',
    moves: 0,
  };
}

/** Answers the three functions that the mail side asks. */
function standIn(directory: Directory): DirectoryPool {
  const answers: Record<string, (value: string) => string | null> = {
    address_of: (uuid) => Object.keys(directory).find((address) => directory[address] === uuid) ?? null,
    mailbox_of: (address) => directory[address] ?? null,
  };
  return {
    ask: async ({ sql, values = [] }) => {
      const name = /directory_v1\.(\w+)/.exec(sql)?.[1] ?? '';
      const found = answers[name]?.(String(values[0])) ?? null;
      return [{ found, leads_to: found && directory[found], expected: false }] as never;
    },
    setTls: () => undefined,
    isReachable: () => true,
    close: async () => undefined,
  };
}

async function serveLocal(mail: Mail): Promise<Server> {
  const server = createServer((request, response) => {
    const path = (request.url ?? '').split('?')[0] ?? '';
    void mail.local(request, response, path).then((known) => known || response.writeHead(404).end('{}'));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}

async function askLocal(
  api: Server,
  method: string,
  path: string,
  body?: object,
): Promise<{ status: number; body: never }> {
  const { port } = api.address() as AddressInfo;
  const response = await fetch(`http://127.0.0.1:${port}${path}`, {
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: response.status, body: (await response.json()) as never };
}

/** A file on a member's volume. */
export function fileOf({ root }: Member, ...path: string[]): string {
  return readFileSync(join(root, ...path), 'utf8');
}
