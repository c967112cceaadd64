/** A person with a mail program: appends, flags, keywords, moves and removals at random, each entered in the ledger as it was answered. */
import { type Folder, logIn, type Session, select, type Target } from './imap.js';
import { type Copy, isAsKnown, type Ledger, type Outcome } from './ledger.js';
import type { Pulse } from './pulse.js';
import type { Random } from './random.js';
import { message, pause } from './sender.js';

export interface Reader {
  target: Target;
  account: string;
  user: string;
  pass: string;
  run: string;
  /** Between two commands. */
  everyMs: number;
  ledger: Ledger;
  /** Beats with each command that is acknowledged. */
  pulse: Pulse;
  chance: Random;
  signal: AbortSignal;
}

export interface Reading {
  /** Commands that were acknowledged. */
  done: number;
  /** Connections that were lost. */
  reconnects: number;
}

export const FOLDERS = ['INBOX', 'Archive', 'Work'] as const;
const FLAGS = ['\\Flagged', '\\Answered', '$k1', '$k2', '$k3'] as const;
/** A folder is read again after so many commands: what was delivered meanwhile is then changed as well. */
const COMMANDS_PER_VISIT = 6;
const RETRY_MS = 500;

/** Works until the signal, on a new connection whenever the old one is lost. */
export async function read(reader: Reader): Promise<Reading> {
  const { target, user, pass, pulse, signal } = reader;
  const result: Reading = { done: 0, reconnects: -1 };
  const acknowledged = (): void => {
    result.done += 1;
    pulse.beat();
  };
  while (!signal.aborted) {
    let session: Session | undefined;
    try {
      session = await logIn(target, user, pass);
      result.reconnects += 1;
      await prepare(session);
      while (!signal.aborted) await visit(reader, session, acknowledged);
    } catch {
      await pause(RETRY_MS, signal);
    } finally {
      session?.close();
    }
  }
  return result;
}

/** Folders that exist already are answered with NO. */
async function prepare(session: Session): Promise<void> {
  for (const folder of FOLDERS.slice(1)) await session.command(`CREATE ${folder}`);
}

/** Some commands in one folder. Rejects when the connection is lost. */
async function visit(reader: Reader, session: Session, acknowledged: () => void): Promise<void> {
  const { chance, everyMs, signal, ledger, account } = reader;
  const folder = await select(session, chance.pick([...FOLDERS, 'INBOX']));
  const copies = copiesOf(account, folder);
  for (const copy of copies) ledger.seen(copy);
  acknowledged();
  for (let i = 0; i < COMMANDS_PER_VISIT; i += 1) {
    if (!(await pause(everyMs * (0.5 + chance.next()), signal))) return;
    if (await act(reader, session, folder, copies)) acknowledged();
  }
}

export function copiesOf(account: string, { name, uidValidity, messages }: Folder): Copy[] {
  return messages.map(({ uid, id, flags }) => ({ id, account, folder: name, uidValidity, uid, flags }));
}

/** @returns whether the server has acknowledged something */
async function act(reader: Reader, session: Session, folder: Folder, copies: Copy[]): Promise<boolean> {
  const { chance, ledger } = reader;
  const known = copies.filter((copy) => {
    const entry = ledger.entries.get(copy.id);
    return entry !== undefined && isAsKnown(entry, copy);
  });
  const dice = chance.next();
  if (dice < 0.2 || known.length === 0) return append(reader, session, folder.name);
  const copy = chance.pick(known);
  if (dice < 0.65) return flag(reader, session, copy);
  // What is moved or removed is not in this folder any more.
  copies.splice(copies.indexOf(copy), 1);
  return dice < 0.85 ? expunge(reader, session, copy) : move(reader, session, copy);
}

/** Runs a command whose outcome is uncertain until `proof` is among its answers. */
async function attempt(
  command: () => Promise<{ status: string; text: string; lines: string[] }>,
  proof: RegExp,
  enter: (outcome: Outcome, match?: RegExpExecArray) => void,
): Promise<boolean> {
  try {
    const { status, text, lines } = await command();
    const match = status === 'OK' ? proof.exec([...lines, text].join('\n')) : null;
    if (match !== null) {
      enter('yes', match);
      return true;
    }
    // NO may stand for a change that has been made in part.
    enter('maybe');
    return false;
  } catch (error) {
    enter('maybe');
    throw error;
  }
}

let appended = 0;

function append({ account, user, run, ledger }: Reader, session: Session, folder: string): Promise<boolean> {
  appended += 1;
  const id = `<${run}.append-${appended}@${account}.example>`;
  return attempt(
    () => session.command(`APPEND ${folder} ($k0)`, message(user, id)),
    /APPENDUID (\d+) (\d+)/,
    (outcome, match) => {
      ledger.kept(id, account, 'append', folder, outcome);
      if (match === undefined) return;
      ledger.flagged(id, '$k0', true, 'yes');
      ledger.seen({ id, account, folder, uidValidity: Number(match[1]), uid: Number(match[2]), flags: [] });
    },
  );
}

async function flag({ chance, ledger }: Reader, session: Session, copy: Copy): Promise<boolean> {
  const name = chance.pick(FLAGS);
  const set = !copy.flags.includes(name);
  const done = await attempt(
    () => session.command(`UID STORE ${copy.uid} ${set ? '+' : '-'}FLAGS (${name})`),
    new RegExp(`FETCH \\(.*UID ${copy.uid}\\b`),
    (outcome) => ledger.flagged(copy.id, name, set, outcome),
  );
  copy.flags = set ? [...copy.flags, name] : copy.flags.filter((flag) => flag !== name);
  return done;
}

function expunge({ ledger }: Reader, session: Session, copy: Copy): Promise<boolean> {
  return attempt(
    async () => {
      const marked = await session.command(`UID STORE ${copy.uid} +FLAGS.SILENT (\\Deleted)`);
      return marked.status === 'OK' ? session.command(`UID EXPUNGE ${copy.uid}`) : marked;
    },
    /^\* (\d+ EXPUNGE|VANISHED)/m,
    (outcome) => ledger.expunged(copy.id, outcome),
  );
}

function move({ chance, ledger, account }: Reader, session: Session, copy: Copy): Promise<boolean> {
  const to = chance.pick(FOLDERS.filter((folder) => folder !== copy.folder));
  return attempt(
    () => session.command(`UID MOVE ${copy.uid} ${to}`),
    /COPYUID (\d+) \d+ (\d+)/,
    (outcome, match) => {
      ledger.moved(copy.id, to, outcome);
      if (match === undefined) return;
      ledger.seen({
        id: copy.id,
        account,
        folder: to,
        uidValidity: Number(match[1]),
        uid: Number(match[2]),
        flags: [],
      });
    },
  );
}
