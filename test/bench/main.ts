/**
 * `npm run bench -- NAME [--json] [--n N] [--keep]`: one benchmark, most of them on the current cluster (`KUBECONFIG`, or
 * the local one). The last line is `NAME value unit (vs REFERENCE value, ratio r)`. docs/development/benchmarks.md explains them.
 */
import { cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { applyLatency } from './apply-latency.js';
import { converge, convergeAddresses } from './converge.js';
import { durableDelivery } from './durable-delivery.js';
import { failover } from './failover.js';
import { lookup } from './lookup.js';
import { mailThroughput } from './mail-throughput.js';
import { removeReplicated } from './replicated.js';
import { replicationLag } from './replication-lag.js';
import { type BenchOptions, type BenchResult, resultLine } from './result.js';
import { rotation } from './rotation.js';
import { removeBenchSystem } from './system.js';

interface Bench {
  n: number;
  run: (options: BenchOptions) => Promise<BenchResult>;
  /** Removes what it has made. Default: the benchmarks' MailSystem; `lookup` needs no cluster. */
  cleanUp?: (log: BenchOptions['log']) => Promise<void>;
}

const nothing = async (): Promise<void> => undefined;
const replicated = { cleanUp: removeReplicated };

const BENCHES: Record<string, Bench> = {
  'apply-latency': { n: 200, run: applyLatency },
  converge: { n: 10_000, run: converge },
  'converge-addresses': { n: 10_000, run: convergeAddresses },
  lookup: { n: 20_000, run: lookup, cleanUp: nothing },
  failover: { n: 20, run: failover, ...replicated },
  rotation: { n: 20, run: rotation, ...replicated },
  'replication-lag': { n: 1_200, run: replicationLag, ...replicated },
  'durable-delivery': { n: 1_000, run: durableDelivery, ...replicated },
  'mail-throughput': { n: 2_000, run: mailThroughput },
};

async function main(): Promise<void> {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { json: { type: 'boolean' }, n: { type: 'string' }, keep: { type: 'boolean' } },
  });
  const name = positionals[0] ?? '';
  const bench = BENCHES[name];
  if (bench === undefined || positionals.length !== 1) {
    throw new Error(`usage: npm run bench -- ${Object.keys(BENCHES).join('|')} [--json] [--n N] [--keep]`);
  }
  const n = values.n === undefined ? bench.n : Number(values.n);
  if (!Number.isInteger(n) || n < 1) throw new Error(`--n ${values.n}: a whole number above 0 is needed`);

  const started = Date.now();
  const log = (text: string): void => console.error(`[${Math.round((Date.now() - started) / 1000)} s] ${text}`);
  const machine = {
    date: new Date().toISOString(),
    cores: cpus().length,
    cpu: cpus()[0]?.model,
    loadBefore: loadavg(),
  };
  try {
    const result = await bench.run({ n, log });
    print(result, { ...machine, loadAfter: loadavg(), n }, values.json === true);
  } finally {
    if (values.keep !== true) await (bench.cleanUp ?? removeBenchSystem)(log);
  }
}

function print(result: BenchResult, conditions: object, json: boolean): void {
  if (json) console.log(JSON.stringify({ ...result, ratio: result.value / result.reference, conditions }));
  else console.log(JSON.stringify({ ...result.details, conditions }, null, 2));
  for (const { what, met } of result.bounds) console.error(`${met ? 'met   ' : 'MISSED'} ${what}`);
  console.log(resultLine(result));
}

try {
  await main();
  process.exit();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exit(1);
}
