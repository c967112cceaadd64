/** Runs every static check, reports all that fail, and exits with 1 if any does. */
import { spawnSync } from 'node:child_process';

const checks: ReadonlyArray<readonly [name: string, command: string, args: readonly string[]]> = [
  // biome.json holds the import rules too: layers, cycles, no test code and no devDependencies in what ships.
  ['format, lint, import rules', 'biome', ['check', '--error-on-warnings', '.']],
  ['types', 'tsc', ['--noEmit']],
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
