import { createLog } from '../../operator/runtime/log.js';
import { createStop, installProcessGuards } from '../../operator/runtime/stop.js';
import { readConfig } from '../lib/config.js';
import { gatekeeperConfig } from './config.js';
import { startGatekeeper } from './gatekeeper.js';

/** Below the pod's termination grace. */
const GRACE_MS = 20_000;

/** The gatekeeper's process, beside Postfix or Dovecot in their pod. It ends when it is told to. */
async function main(): Promise<void> {
  const config = readConfig(process.env.POSTHORN_CONFIG ?? '/config/gatekeeper.yaml', gatekeeperConfig);
  const log = createLog({ name: 'gatekeeper', level: config.logLevel });
  const stop = createStop({ log, graceMs: GRACE_MS });
  installProcessGuards({ log, stop });
  const gatekeeper = await startGatekeeper(config, log);
  stop.onStop('gatekeeper', gatekeeper.stop);
  await stop.stopped;
}

await main();
