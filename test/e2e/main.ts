/**
 * `npm run e2e -- [NAME…] [--list]`: runs end-to-end suites on the current cluster (`KUBECONFIG`, or the local one).
 * NAME is part of a suite's file name or a requirement id such as R13. The last line is `N passed, N failed`.
 * Suites that take long, and need more nodes than the others, run only when they are named.
 */
import { fileURLToPath } from 'node:url';
import { configDefaults } from 'vitest/config';
import { createVitest, startVitest, type TestCase } from 'vitest/node';

const root = fileURLToPath(new URL('../..', import.meta.url));

async function main(args: readonly string[]): Promise<void> {
  const names = args.filter((arg) => !arg.startsWith('--'));
  const ids = names.filter((name) => /^R\d+$/.test(name));
  const files = names.filter((name) => !ids.includes(name));
  if (args.includes('--list')) return list(files);
  const vitest = await startVitest('test', files, {
    ...common,
    ...(names.length === 0 ? { exclude: [...configDefaults.exclude, ...LONG] } : {}),
    ...(ids.length === 0 ? {} : { testNamePattern: ids.map((id) => `\\[[^\\]]*\\b${id}\\b`).join('|') }),
  });
  const tests = vitest.state.getTestModules().flatMap((module) => [...module.children.allTests()]);
  const passed = tests.filter((test) => test.result().state === 'passed').length;
  const failed = tests.filter((test) => test.result().state === 'failed').length;
  const broken =
    vitest.state.getUnhandledErrors().length +
    vitest.state.getTestModules().filter((m) => m.errors().length > 0).length;
  await vitest.close();
  if (failed + broken > 0 || passed === 0) process.exitCode = 1;
  console.log(`${passed} passed, ${failed + broken} failed`);
}

const LONG = ['test/e2e/failover.e2e.ts'];

const common = { root, config: `${root}/test/e2e/vitest.config.ts`, watch: false, run: true };

/** Collects the tests without a cluster. */
async function list(files: string[]): Promise<void> {
  process.env.POSTHORN_E2E_LIST = '1';
  const vitest = await createVitest('test', { ...common, reporters: [{}] });
  await vitest.collect(files);
  const modules = vitest.state.getTestModules();
  const tests = modules.flatMap((module) => [...module.children.allTests()]);
  for (const test of tests) console.log(`${test.module.relativeModuleId}: ${test.fullName}`);
  for (const error of modules.flatMap((module) => module.errors())) {
    console.error(error.message);
    process.exitCode = 1;
  }
  console.log(`${tests.length} tests, requirements: ${requirements(tests).join(' ')}`);
  await vitest.close();
}

function requirements(tests: readonly TestCase[]): string[] {
  const ids = tests.flatMap((test) => test.fullName.match(/\bR\d+\b/g) ?? []);
  return [...new Set(ids)].sort((a, b) => Number(a.slice(1)) - Number(b.slice(1)));
}

await main(process.argv.slice(2));
process.exit();
