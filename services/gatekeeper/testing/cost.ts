/**
 * What a policy request costs: CPU time of a gatekeeper in a process of its own, before a real directory and Redis.
 * `npx tsx services/gatekeeper/testing/cost.ts [REQUESTS]`
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { mailbox, setHeartbeatAge, startDirectory } from '../../../operator/directory/testing/directory.js';
import { freePort, startRedis } from './redis.js';

const requests = Number(process.argv[2] ?? 5_000);
const CLOCK_TICKS = 100;
const directory = await startDirectory();
const redis = await startRedis();
const people = Array.from({ length: 500 }, (_, index) => mailbox(`p${index}`));
await directory.directory.projectMailboxes(people);

/** CPU seconds of a process so far. */
function cpu({ pid }: ChildProcess): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS;
}

async function start(role: string) {
  const [policy, http] = [await freePort(), await freePort()];
  const path = `/tmp/posthorn-cost-${process.pid}-${role}.yaml`;
  writeFileSync(
    path,
    `role: ${role}
postmaster: postmaster@example.org
directory: {hosts: 127.0.0.1, port: ${directory.server.port}, leader: 127.0.0.1, tls: false}
redis: {host: 127.0.0.1, port: ${redis.port}}
tls: /nonexistent
policy: 127.0.0.1:${policy}
http: 127.0.0.1:${http}
`,
  );
  const child = spawn(process.execPath, ['--import', 'tsx', 'services/gatekeeper/main.ts'], {
    env: { ...process.env, POSTHORN_CONFIG: path },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  for (;;) {
    const up = await fetch(`http://127.0.0.1:${http}/ready`).then(
      ({ ok }) => ok,
      () => false,
    );
    if (up) break;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  rmSync(path);
  return { child, policy };
}

/** Eight connections, each with one question at a time, as smtpd processes ask. */
async function ask(port: number, question: (n: number) => string): Promise<Map<string, number>> {
  const answers = new Map<string, number>();
  let next = 0;
  const session = () =>
    new Promise<void>((resolve, reject) => {
      const socket = connect(port, '127.0.0.1');
      const send = () => {
        if (next >= requests) return void socket.end(() => resolve());
        socket.write(`request=smtpd_access_policy\n${question(next++)}\n\n`);
      };
      socket.on('error', reject);
      socket.on('connect', send);
      socket.on('data', (data) => {
        const answer = data.toString().trim().slice(0, 20);
        answers.set(answer, (answers.get(answer) ?? 0) + 1);
        send();
      });
    });
  await Promise.all(Array.from({ length: 8 }, session));
  return answers;
}

async function measure(role: string, name: string, question: (n: number) => string): Promise<void> {
  const { child, policy } = await start(role);
  await setHeartbeatAge(directory.server, 0);
  const beat = setInterval(() => void setHeartbeatAge(directory.server, 0), 1_000);
  await ask(policy, question);
  const [cpuBefore, before] = [cpu(child), performance.now()];
  const answers = await ask(policy, question);
  const [used, wall] = [cpu(child) - cpuBefore, performance.now() - before];
  const memory = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1];
  clearInterval(beat);
  child.kill();
  const each = ((used * 1000) / requests).toFixed(3);
  console.log(
    `${name}: ${each} ms CPU, ${(wall / requests).toFixed(3)} ms wall; ${memory} kB`,
    Object.fromEntries(answers),
  );
}

const person = (n: number) => people[n % people.length]?.address;
await measure(
  'mx',
  'mx, RCPT, not remembered',
  (n) => `protocol_state=RCPT\ninstance=${n}\nrecipient=x+${n}.${Math.random()}@example.org`,
);
await measure(
  'mx',
  'mx, RCPT',
  (n) => `protocol_state=RCPT\ninstance=${n}\nrecipient=p1+${n}.${Math.random()}@example.org`,
);
const submission = (stage: string) => (n: number) =>
  `protocol_state=${stage}\ninstance=${n}\nsasl_username=${person(n)}\nrecipient=x${n}@gmail.example\nrecipient_count=1`;
await measure('submission', 'submission, MAIL', submission('MAIL'));
await measure('submission', 'submission, RCPT', submission('RCPT'));
await measure('submission', 'submission, end of message', submission('END-OF-MESSAGE'));
await Promise.all([directory.stop(), redis.stop()]);
