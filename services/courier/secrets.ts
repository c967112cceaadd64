import type { Client } from '../../operator/runtime/client.js';
import { isNotFound } from '../../operator/runtime/errors.js';
import { builtin, type KubeObject } from '../../operator/runtime/object.js';

interface Secret extends KubeObject {
  type?: string;
  data?: Record<string, string>;
}

/** Reads Secrets that rules name. */
export interface SecretReader {
  /** Values by key. Rejects when there is no such Secret, when it is none for rules, or when nobody can be asked. */
  read(name: string): Promise<ReadonlyMap<string, Buffer>>;
}

/** A Secret is read anew after this, ms; and while the API server is away an older one is used, up to … */
const FRESH_MS = 30_000;
/** … this age. */
const STALE_MS = 24 * 3_600_000;

/** Reads a namespace's Secrets, and remembers them, so that webhooks work while the API server is away. */
export function createSecretReader(client: Client, namespace: string, now = Date.now): SecretReader {
  const known = new Map<string, Known>();
  const ask = async (name: string): Promise<ReadonlyMap<string, Buffer>> => {
    const secret = await client.get<Secret>(builtin.secret, { namespace, name }, { timeoutMs: 5_000 });
    refuseOurs(secret);
    const values = new Map(
      Object.entries(secret.data ?? {}).map(([key, value]) => [key, Buffer.from(value, 'base64')]),
    );
    known.set(name, { at: now(), values });
    return values;
  };
  const askAgain = async (name: string, before: Known | undefined): Promise<ReadonlyMap<string, Buffer>> => {
    try {
      return await ask(name);
    } catch (error) {
      const forGood = error instanceof SecretRefused || isNotFound(error);
      if (forGood) known.delete(name);
      if (forGood || before === undefined || now() - before.at > STALE_MS) throw error;
      return before.values;
    }
  };
  return {
    read: async (name) => {
      const before = known.get(name);
      return before !== undefined && now() - before.at < FRESH_MS ? before.values : askAgain(name, before);
    },
  };
}

interface Known {
  at: number;
  values: ReadonlyMap<string, Buffer>;
}

/** A rule names a Secret that is not for rules. */
export class SecretRefused extends Error {
  override readonly name = 'SecretRefused';
}

const REFUSED_TYPES = ['kubernetes.io/service-account-token', 'kubernetes.io/tls', 'bootstrap.kubernetes.io/token'];
const DKIM_LABEL = 'posthorn.dev/dkim';

/** Whoever may write a rule may not thereby read the system's keys or become a service account. */
function refuseOurs({ type = '', metadata: { name, labels = {} } }: Secret): void {
  const ours = labels['app.kubernetes.io/managed-by'] === 'posthorn' || labels[DKIM_LABEL] !== undefined;
  if (ours || REFUSED_TYPES.includes(type)) throw new SecretRefused(`Secret ${name} is not for rules`);
}
