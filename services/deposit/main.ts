import { createLog } from '../../operator/runtime/log.js';
import { createStop, installProcessGuards } from '../../operator/runtime/stop.js';
import { readConfig } from '../lib/config.js';
import { openDirectoryPool } from '../lib/directory.js';
import { startHttp } from '../lib/http.js';
import { createLmtpClient } from '../lib/lmtp/client.js';
import { startLmtpServer } from '../lib/lmtp/server.js';
import { createPeerClient } from '../lib/peer.js';
import { watchTls } from '../lib/tls.js';
import { connectAgent } from './agent.js';
import { depositConfigSchema } from './config.js';
import { createDeposit } from './deposit.js';
import { createJournal } from './journal.js';
import { mailboxLookup } from './mailboxes.js';
import { createMemory } from './memory.js';
import { createDepositMetrics } from './metrics.js';

const CONFIG = '/config/deposit.yaml';
const TLS_FOLDER = '/tls';
const LOOPBACK = '127.0.0.1';
/** Header fields that the mx adds to a message of the largest size. */
const SLACK = 64 * 1024;
/** A message takes 50 s at most; below the pod's termination grace. */
const GRACE_MS = 52_000;

/** The deposit's process: LMTP in; LMTP to Dovecot and the journal of a peer out. */
async function main(): Promise<void> {
  const config = readConfig(process.env.POSTHORN_CONFIG ?? CONFIG, depositConfigSchema);
  const log = createLog({ name: 'deposit', level: process.env.POSTHORN_LOG_LEVEL ?? 'info' });
  const stop = createStop({ log, graceMs: GRACE_MS });
  installProcessGuards({ log, stop });
  const metrics = createDepositMetrics();
  const tls = await watchTls(TLS_FOLDER, {
    log,
    onChange: (material) => {
      directory.setTls(material);
      peers.setTls(material);
    },
  });
  const peers = createPeerClient(tls.current());
  const { hosts, port, user } = config.directory;
  const directory = openDirectoryPool({ hosts, port, user, tls: tls.current(), application: 'posthorn-deposit' });
  const agent = connectAgent({ port: config.agent.port, log });
  const primary = createLmtpClient({ port: config.primary.port, most: config.primary.connections, name: 'deposit' });
  const memory = createMemory({ most: config.remember });
  const deposit = createDeposit({
    state: agent.state,
    agent,
    primary,
    journal: createJournal({ client: peers, onPut: metrics.put, log }),
    memory,
    mailboxOf: mailboxLookup(directory),
    onResult: metrics.answered,
    log,
  });
  const open = (): boolean => agent.state()?.role === 'primary';
  const lmtp = await startLmtpServer({
    host: LOOPBACK,
    port: config.lmtp.port,
    name: process.env.POD_NAME ?? 'deposit',
    sizeLimit: config.lmtp.messageSizeLimit + SLACK,
    memoryLimit: config.lmtp.memoryLimit,
    deliver: async (message) => {
      const started = performance.now();
      const replies = await deposit(message);
      metrics.took((performance.now() - started) / 1000);
      return replies;
    },
    log,
  });
  metrics.watch({ remembered: () => memory.size, held: lmtp.held, primary: open });
  // A replica's deposit is ready too: there is nothing that it waits for.
  const http = await startHttp({ host: LOOPBACK, port: config.http.port, registry: metrics.registry, log });
  log.info({ port: lmtp.port, shard: config.shard }, 'taking mail');

  stop.onStop('certificates', tls.stop);
  stop.onStop('directory', directory.close);
  stop.onStop('peers', peers.close);
  stop.onStop('primary', primary.close);
  stop.onStop('agent', agent.close);
  stop.onStop('http', http.close);
  stop.onStop('lmtp', lmtp.close);
  await stop.stopped;
}

await main();
