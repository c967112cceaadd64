/**
 * Runs the rspamd image as its pods would (same rights, same rendered templates, real Redis) with a DNS, a gatekeeper and
 * a mail server of the checks' own on the other sides, and checks what must never go wrong. No cluster; root and podman.
 *
 *   ./hack/images --no-load rspamd redis && npx tsx images/rspamd/checks/run.ts [WORDS IN A NAME…]
 */
import { awayChecks } from './away.js';
import type { Check } from './check.js';
import { filterChecks } from './filter.js';
import { learningChecks } from './learning.js';
import { record, rsa } from './message.js';
import { mtaChecks } from './mta.js';
import { outboundChecks } from './outbound.js';
import { referenceChecks } from './reference.js';
import { sealChecks } from './seal.js';
import { signerChecks } from './signer.js';
import { inNamespace, type Role, setUp } from './stage.js';

const checks: Record<Role, Record<string, Check>> = {
  filter: { ...filterChecks, ...mtaChecks, ...awayChecks, ...sealChecks, ...learningChecks, ...referenceChecks },
  outbound: outboundChecks,
  signer: signerChecks,
};

const words = process.argv.slice(2);
const wanted = (name: string): boolean => words.every((word) => name.includes(word));
const inside = process.env.POSTHORN_CHECKS_INSIDE as Role | undefined;

if (inside === undefined) {
  const roles = (Object.keys(checks) as Role[]).filter((role) => Object.keys(checks[role]).some(wanted));
  const failed = roles.filter(
    (role) => inNamespace(role, process.execPath, [...process.execArgv, ...process.argv.slice(1)]) !== 0,
  );
  process.exit(failed.length === 0 && roles.length > 0 ? 0 : 1);
}

const stage = await setUp(inside);
let [passed, failed] = [0, 0];
try {
  for (const domain of ['outside', 'elsewhere', 'notoutside', 'evil', 'strict', 'careful', 'lax']) {
    stage.zone[`${domain}.test`] = {
      TXT: ['v=spf1 ip4:192.0.2.1 ip6:2001:db8::7 -all'],
      A: ['192.0.2.1'],
      MX: [`${domain}.test`],
    };
    stage.zone[`s1._domainkey.${domain}.test`] = { TXT: [record(rsa.publicKey)] };
  }
  for (const domain of ['outside.org', 'lists.outside.org', 'outside.co.uk', 'elsewhere.co.uk']) {
    stage.zone[domain] = {};
    stage.zone[`s1._domainkey.${domain}`] = { TXT: [record(rsa.publicKey)] };
  }
  for (const [domain, policy] of [
    ['strict', 'reject'],
    ['careful', 'quarantine'],
    ['lax', 'none'],
  ]) {
    stage.zone[`_dmarc.${domain}.test`] = { TXT: [`v=DMARC1; p=${policy}`] };
  }
  for (const name of ['shaky.test', 's1._domainkey.shaky.test']) stage.zone[name] = { fail: true };
  await stage.restart();
  for (const [name, check] of Object.entries(checks[inside])) {
    if (!wanted(name)) continue;
    try {
      await stage.redis.flushall();
      await check(stage);
      passed++;
      console.log(`ok      ${name}`);
    } catch (error) {
      failed++;
      console.log(`FAILED  ${name}\n${error instanceof Error ? error.message : String(error)}`);
    }
  }
} catch (error) {
  failed++;
  console.log(String(error));
} finally {
  if (failed > 0 && process.env.POSTHORN_CHECKS_LOGS) console.log(await stage.logs());
  await stage.close();
}
console.log(`${inside}: ${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);
