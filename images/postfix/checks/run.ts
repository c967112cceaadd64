/**
 * Runs the Postfix and rspamd images as their pods would (same rights, same rendered templates, real PostgreSQL with the
 * directory's migrations, real Redis, mutual TLS) and checks what must never go wrong. No cluster; root and podman.
 *
 *   ./hack/images --no-load postfix dovecot rspamd redis posthorn && npx tsx images/postfix/checks/run.ts [--keep] [WORDS IN A NAME…]
 *
 * --keep leaves everything running at the end, for a look with podman; Ctrl-C ends it.
 */
import { checks } from './checks.js';
import { setUp, tearDown, untilReady } from './stage.js';
import { courier, outside, store } from './world.js';

const keep = process.argv.includes('--keep');
const words = process.argv.slice(2).filter((word) => word !== '--keep');
const wanted = (name: string): boolean => words.every((word) => name.includes(word));

const stage = await setUp().catch((error: unknown) => {
  tearDown();
  throw error;
});
const world = {
  stage,
  store: await store(stage),
  courier: await courier(stage),
  outside: await outside(),
};
let [passed, failed] = [0, 0];
try {
  await untilReady(stage);
  for (const [name, check] of Object.entries(checks)) {
    if (!wanted(name)) continue;
    try {
      await check(world);
      passed++;
      console.log(`ok      ${name}`);
    } catch (error) {
      failed++;
      console.log(`FAILED  ${name}\n${error instanceof Error ? error.message : String(error)}`);
    }
  }
  if (keep) await new Promise((resolve) => process.once('SIGINT', resolve));
} catch (error) {
  failed++;
  console.log(String(error));
} finally {
  await stage.close();
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);
