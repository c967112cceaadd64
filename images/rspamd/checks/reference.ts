import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Check } from './check.js';
import { message } from './message.js';
import { deliver } from './milter.js';

const POLICY = join(import.meta.dirname, '../../../test/bench/reference/policy.lua');
const GTUBE = 'XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n';

export const referenceChecks: Record<string, Check> = {
  'filter: the benchmarks’ reference uses it without a gatekeeper': async (stage) => {
    await stage.restart({ 'policy.lua': readFileSync(POLICY, 'utf8') });
    await stage.gatekeeper.stop();
    try {
      const session = { from: 'someone@outside.test', to: ['alice@example.org'] };
      const outcome = await deliver(session, message());
      assert.equal(outcome.reply, 'accept');
      assert.match(outcome.message, /^X-Spamd-Result: .*\[[\d.]+ \/ 15\.00\]/m);
      assert.match((await deliver(session, message({}, GTUBE))).reply, /^554 /);
    } finally {
      await stage.gatekeeper.start();
      await stage.restart();
    }
  },
};
