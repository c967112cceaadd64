/**
 * Runs the Dovecot image in the roles store, proxy and auth as their pods would (same rights, same rendered templates, real
 * PostgreSQL with the directory's migrations, mutual TLS through the store's tunnel) and checks what they must and must not
 * do. Gatekeeper, rspamd and egress are stand-ins. No cluster; root and podman.
 *
 *   ./hack/images --no-load dovecot tunnel && npx tsx images/dovecot/checks/run.ts [--keep] [WORDS IN A NAME…]
 *
 * --keep leaves everything running at the end, for a look with podman; Ctrl-C ends it.
 */
import { checks } from './checks.js';
import { setUp, tearDown, untilReady } from './stage.js';
import { account, egress } from './world.js';

const keep = process.argv.includes('--keep');
const words = process.argv.slice(2).filter((word) => word !== '--keep');

const stage = await setUp().catch((error: unknown) => {
  tearDown();
  throw error;
});
let [passed, failed] = [0, 0];
const outside = await egress(stage);
try {
  stage.users(Object.fromEntries(Object.keys(stage.mailboxes).map((who) => [`${who}@example.org`, account(who)])));
  await untilReady(stage);
  for (const [name, check] of Object.entries(checks)) {
    if (!words.every((word) => name.includes(word))) continue;
    const started = Date.now();
    try {
      await check({ stage, egress: outside });
      passed++;
      console.log(`ok      ${name} (${((Date.now() - started) / 1000).toFixed(1)} s)`);
    } catch (error) {
      failed++;
      console.log(`FAILED  ${name}\n${error instanceof Error ? error.stack : String(error)}`);
    }
  }
  if (keep) await new Promise((resolve) => process.once('SIGINT', resolve));
} catch (error) {
  failed++;
  console.log(String(error));
} finally {
  outside.close();
  await stage.close();
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);
