import { createLog } from '../../operator/runtime/log.js';
import { createStop, installProcessGuards } from '../../operator/runtime/stop.js';
import { readConfig } from '../lib/config.js';
import { watchTls } from '../lib/tls.js';
import { agentConfigSchema, memberOf } from './config.js';
import { openMail } from './mail/mail.js';
import { startMember } from './member.js';

const CONFIG = '/config/agent.yaml';

/** The store's agent: owns Dovecot in its pod, and with it the right to be the shard's primary. */
async function main(): Promise<void> {
  const config = readConfig(process.env.POSTHORN_CONFIG ?? CONFIG, agentConfigSchema);
  const log = createLog({ name: 'agent', level: process.env.POSTHORN_LOG_LEVEL ?? 'info' });
  const stop = createStop({ log, graceMs: config.handover.total + 3_000 });
  installProcessGuards({ log, stop });
  const tls = await watchTls(config.paths.tls, { log, onChange: (material) => running.setTls(material) });
  const member = memberOf(process.env.POD_NAME);
  const running = await startMember({ config, member, tls: tls.current(), openMail, log });
  stop.onStop('certificates', tls.stop);
  stop.onStop('member', running.stop);
  await stop.stopped;
  process.exit();
}

await main();
