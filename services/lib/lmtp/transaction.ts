import type { Log } from '../../../operator/runtime/log.js';
import type { Reply } from './reply.js';

/** One message and whom it is for. Addresses are octets (latin1), as they came, without angle brackets. */
export interface Transaction {
  readonly sender: string;
  readonly recipients: readonly string[];
  readonly eightBit: boolean;
  readonly utf8: boolean;
  /** Lines end with CRLF, dots are single. */
  readonly content: Buffer;
}

export interface LmtpServerOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /** To greet with. */
  readonly name: string;
  /** Octets of one message; a longer one is refused (552 5.3.4). */
  readonly sizeLimit: number;
  /** Octets of all messages held at a time; beyond them messages are put off, but one alone is always taken. */
  readonly memoryLimit: number;
  /** A client that says nothing for so long is hung up on. Default 300 s. */
  readonly idleMs?: number;
  /** One reply for each recipient, in order. When it throws, all are put off. */
  readonly deliver: (transaction: Transaction) => Promise<readonly Reply[]>;
  /** When not undefined, MAIL is answered so. */
  readonly refuse?: () => Reply | undefined;
  readonly log: Log;
}

/** What sessions share. */
export interface Shared {
  readonly options: LmtpServerOptions;
  readonly memory: { used: number };
  closing: boolean;
}
