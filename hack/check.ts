/** Runs every static check, reports all that fail, and exits with 1 if any does. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const layers = ['crds', 'cdk8s', 'operator', 'services', 'charts', 'hack', 'test'].filter((folder) =>
  existsSync(folder),
);

const checks: ReadonlyArray<readonly [name: string, command: string, args: readonly string[]]> = [
  ['format and lint', 'biome', ['check', '--error-on-warnings', '.']],
  ['types', 'tsc', ['--noEmit']],
  ['import rules', 'depcruise', ['--config', '.dependency-cruiser.cjs', ...layers]],
  ['generated files', 'tsx', ['hack/generate.ts', '--check']],
];

const failed: string[] = [];
for (const [name, command, args] of checks) {
  console.log(`== ${name}: ${command} ${args.join(' ')}`);
  const { status, error } = spawnSync('npx', ['--no-install', command, ...args], { stdio: 'inherit' });
  if (status !== 0) failed.push(error === undefined ? name : `${name} (${error.message})`);
}

if (failed.length > 0) {
  console.error(`\nnpm run check: failed: ${failed.join(', ')}`);
  process.exitCode = 1;
}
