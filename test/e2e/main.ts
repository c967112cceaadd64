/**
 * `npm run e2e -- [NAME…] [--list]`: runs end-to-end suites on the current cluster (`KUBECONFIG`, or the local one).
 * NAME is part of a suite's file name or a requirement id such as R13. The last line is `N passed, N failed`.
 */
import { fileURLToPath } from 'node:url';
import { startVitest } from 'vitest/node';
import type { TestCase } from 'vitest/node';

const root = fileURLToPath(new URL('../..', import.meta.url));

async function main(args: readonly string[]): Promise<number> {
  const list = args.includes('--list');
  const names = args.filter((arg) => !arg.startsWith('--'));
  const ids = names.filter((name) => /^R\d+$/.test(name));
  const files = names.filter((name) => !ids.includes(name));
  const vitest = await startVitest('test', files, {
    root,
    config: `${root}/test/e2e/vitest.config.ts`,
    watch: false,
    run: true,
    ...(ids.length === 0 ? {} : { testNamePattern: ids.map((id) => `\\[.*\\b${id}\\b.*\\]`).join('|') }),
    ...(list ? { globalSetup: [], dryRun: true, testNamePattern: '$^', passWithNoTests: true, reporters: [{}] } : {}),
  });
  const tests = vitest.state.getTestModules().flatMap((module) => [...module.children.allTests()]);
  if (list) {
    for (const test of tests) console.log(`${test.module.relativeModuleId}: ${test.fullName}`);
    console.log(`${tests.length} tests, requirements: ${requirements(tests).join(' ')}`);
  } else {
    const passed = tests.filter((test) => test.result().state === 'passed').length;
    const failed = tests.filter((test) => test.result().state === 'failed').length;
    const broken = vitest.state.getUnhandledErrors().length + vitest.state.getTestModules().filter((m) => m.errors().length > 0).length;
    if (failed + broken > 0 || passed === 0) process.exitCode = 1;
    console.log(`${passed} passed, ${failed + broken} failed`);
  }
  await vitest.close();
  return Number(process.exitCode ?? 0);
}

function requirements(tests: readonly TestCase[]): string[] {
  const ids = tests.flatMap((test) => test.fullName.match(/\bR\d+\b/g) ?? []);
  return [...new Set(ids)].sort((a, b) => Number(a.slice(1)) - Number(b.slice(1)));
}

process.exit(await main(process.argv.slice(2)));
