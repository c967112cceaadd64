/** Commands of LMTP and their parameters. Pure. */
import { type Reply, reply } from './reply.js';

export interface Command {
  /** In upper case: `MAIL`. */
  readonly verb: string;
  readonly rest: string;
}

/** A line without its end, octets as characters. */
export function parseCommand(line: string): Command {
  const [, verb = '', rest = ''] = /^([A-Za-z]+)(?: +(.*))?$/s.exec(line.trimEnd()) ?? [];
  return { verb: verb.toUpperCase(), rest };
}

export interface Path {
  readonly address: string;
  /** Names in upper case; a parameter without a value has the empty one. */
  readonly parameters: ReadonlyMap<string, string>;
}

/**
 * The path of `MAIL FROM:<…>` or `RCPT TO:<…>` and its parameters. A quoted local part may hold anything; no address may
 * hold what would end the path or the line. Undefined when it is malformed.
 */
export function parsePath(rest: string, word: 'FROM' | 'TO'): Path | undefined {
  const match = /^(FROM|TO): ?<((?:"(?:[^"\\]|\\.)*"|[^"<>\s\\])*)>(?: +(.*))?$/i.exec(rest);
  if (match === null || match[1]?.toUpperCase() !== word) return undefined;
  const address = match[2] ?? '';
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (address.length > 1024 || /[\x00-\x1f\x7f]/.test(address)) return undefined;
  const words = (match[3] ?? '').split(' ').filter((parameter) => parameter !== '');
  const parameters = new Map(
    words.map((parameter) => {
      const [name = '', value = ''] = parameter.split(/=(.*)/s);
      return [name.toUpperCase(), value] as const;
    }),
  );
  return { address, parameters };
}

/** What is wrong with the parameters of MAIL, if anything is. */
export function mailObstacle({ parameters }: Path, sizeLimit: number): Reply | undefined {
  for (const [name, value] of parameters) {
    if (name === 'SIZE' && Number(value) > sizeLimit) return reply(552, '5.3.4 the message is too large');
    if (!isKnown(name, value)) return reply(555, `5.5.4 parameter ${name} is not taken here`);
  }
  return undefined;
}

function isKnown(name: string, value: string): boolean {
  if (name === 'SIZE') return /^\d{1,20}$/.test(value);
  if (name === 'BODY') return /^(7BIT|8BITMIME)$/i.test(value);
  return name === 'SMTPUTF8' && value === '';
}
