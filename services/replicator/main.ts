import { join } from 'node:path';
import { z } from 'zod';
import { createLog } from '../../operator/runtime/log.js';
import { createStop, installProcessGuards } from '../../operator/runtime/stop.js';
import { readConfig } from '../lib/config.js';
import { openDirectoryPool } from '../lib/directory.js';
import { BadRequest, startHttp } from '../lib/http.js';
import { watchTls } from '../lib/tls.js';
import { createAgentClient } from './agent.js';
import { replicatorConfigSchema } from './config.js';
import { openDirtyLog } from './dirty-log.js';
import { createLocks } from './locks.js';
import { openMemory } from './memory.js';
import { createReplicatorMetrics } from './metrics.js';
import { startMoves } from './moves.js';
import { createNames } from './names.js';
import { createReplicator } from './replicator.js';
import { DEFAULT_TIMING } from './schedule.js';
import { createVerbs } from './verbs.js';

const CONFIG = '/config/replicator.yaml';
const TLS_FOLDER = '/tls';
const flushSchema = z.object({ member: z.number().int(), within: z.number().min(0).max(60_000) });

/** The replicator's process. Whatever it knows is on the volume: it may be killed at any time. */
async function main(): Promise<void> {
  const config = readConfig(process.env.POSTHORN_CONFIG ?? CONFIG, replicatorConfigSchema);
  const log = createLog({ name: 'replicator', level: process.env.POSTHORN_LOG_LEVEL ?? 'info' });
  const stop = createStop({ log });
  installProcessGuards({ log, stop });
  const metrics = createReplicatorMetrics();
  const clock = (): number => performance.now();
  const tls = await watchTls(TLS_FOLDER, { log, onChange: (material) => directory.setTls(material) });
  const directory = openDirectoryPool({
    ...config.directory,
    tls: tls.current(),
    connections: 2,
    application: 'posthorn-replicator',
  });
  const agent = createAgentClient({ port: config.agent.port });
  const locks = createLocks();
  const memory = openMemory(join(config.volume, 'replication'));
  const replicator = createReplicator({
    agent,
    verbs: createVerbs(agent),
    memory,
    names: createNames(directory, config.shard),
    dirty: openDirtyLog({ folder: join(config.volume, 'dirty'), clock }),
    locks,
    metrics,
    log,
    volume: config.volume,
    timing: {
      ...DEFAULT_TIMING,
      workers: config.sync.workers,
      quickMs: config.sync.quickSeconds * 1000,
      slowMs: config.sync.slowSeconds * 1000,
    },
    compare: { ...config.compare, everyMs: config.compare.everyHours * 3_600_000 },
    clock,
  });
  metrics.peers(replicator.facts);
  const http = await startHttp({
    host: '127.0.0.1',
    port: config.http.port,
    routes: {
      '/v1/flush': (body) => {
        const { success, data } = flushSchema.safeParse(body);
        if (!success) throw new BadRequest('member and within (ms, at most 60000) are wanted');
        return replicator.flush(data.member, data.within);
      },
    },
    ready: replicator.isReady,
    timeoutMs: 65_000,
    registry: metrics.registry,
    log,
  });
  const running = replicator.run(stop.signal);
  const moves = startMoves({ agent, locks, memory, log });

  stop.onStop('certificates', tls.stop);
  stop.onStop('directory', directory.close);
  stop.onStop('http', http.close);
  stop.onStop('agent', agent.close);
  stop.onStop('replication', () => running);
  stop.onStop('moves', moves.stop);
  await stop.stopped;
}

await main();
