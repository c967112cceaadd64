/** What the agent leaves in its pod's files for others, and how it looks at its Dovecot. */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import type { AgentConfig } from './config.js';
import type { AgentState } from './ports.js';
import type { Mode } from './supervise.js';

/** `mode.conf`, which dovecot.conf includes. */
export function modeConf(mode: Mode, epoch: number, key: string, replicated: boolean): string {
  const open = mode === 'opening' || mode === 'primary';
  const lines = [
    `!include /config/mode-${mode === 'stopped' ? 'replica' : mode}.conf`,
    ...(open && replicated ? ['!include /config/replicated.conf'] : []),
    `doveadm_api_key = ${key}`,
    'import_environment {',
    `  POSTHORN_EPOCH = ${epoch}`,
    '}',
  ];
  return `${lines.join('\n')}\n`;
}

/** Whether Dovecot listens where it should in its mode. */
export async function probe(mode: Mode, { ports, paths }: AgentConfig): Promise<boolean> {
  if (mode === 'replica') return answers({ path: join(paths.dovecot, 'doveadm-server') });
  if (!(await answers({ host: '127.0.0.1', port: ports.lmtp }))) return false;
  return mode === 'opening' || answers({ host: '127.0.0.1', port: ports.imap });
}

function answers(where: { path: string } | { host: string; port: number }): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ ...where, timeout: 1_000 });
    const end = (up: boolean) => () => {
      socket.destroy();
      resolve(up);
    };
    socket.once('connect', end(true)).once('error', end(false)).once('timeout', end(false));
  });
}

/** For programs of the pod that look once a second: one word, written before anybody hears of the state. */
export function roleFile(path: string): (state: AgentState) => AgentState {
  let written = '';
  return (state) => {
    if (state.role !== written) {
      writeFileSync(`${path}.new`, `${state.role}\n`);
      renameSync(`${path}.new`, path);
      written = state.role;
    }
    return state;
  };
}

/** Under which UUIDs this pod's agents have asked for the lease; the file is gone with the pod. */
export function holdersFile(path: string): { readonly all: readonly string[]; add(holder: string): void } {
  let all: string[] = [];
  try {
    all = readFileSync(path, 'utf8').split('\n').filter(Boolean).slice(-8);
  } catch {
    // The first agent of this pod.
  }
  const before = [...all];
  return {
    all: before,
    add: (holder) => {
      if (all.includes(holder)) return;
      all = [...all, holder].slice(-8);
      writeFileSync(`${path}.new`, `${all.join('\n')}\n`);
      renameSync(`${path}.new`, path);
    },
  };
}
