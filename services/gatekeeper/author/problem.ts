/** What is wrong with how a message names its author. `message` says it in words that end in what to do; printable ASCII. */
export class AuthorProblem extends Error {
  override readonly name = 'AuthorProblem';
  /** One word for logs, metrics and tests. */
  readonly kind: string;

  constructor(kind: string, text: string) {
    super(text);
    this.kind = kind;
  }
}

/** Ends the reading of a message. */
export function refuse(kind: string, text: string): never {
  throw new AuthorProblem(kind, text);
}
