/**
 * Writes every generated file of the repository; `--check` writes nothing and fails if one is not current.
 * A part of the repository that generates files adds its function to `generators`.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { generateCharts } from '../cdk8s/generate.js';
import { generateCrds } from '../crds/generate/files.js';

/** What a generator produces. Paths are relative to the repository's root. */
export interface Generated {
  /** Folders of generated files: what is there and not in `files` is stale and is removed, except pages written by hand. */
  readonly folders: readonly string[];
  readonly files: ReadonlyMap<string, string>;
}

const generators: ReadonlyArray<() => Generated | Promise<Generated>> = [generateCrds, generateCharts];

const root = join(import.meta.dirname, '..');

function present(folder: string): string[] {
  const path = join(root, folder);
  if (!existsSync(path)) return [];
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1));
}

function current(path: string): string | undefined {
  return existsSync(join(root, path)) ? readFileSync(join(root, path), 'utf8') : undefined;
}

/** A page beside generated ones (docs/reference/directory.md): those say in their first line that they are generated. */
function isWrittenByHand(path: string): boolean {
  return path.endsWith('.md') && !current(path)?.startsWith('<!-- Generated');
}

/** path → wanted content, `undefined` for files to remove; only what differs from the disk. */
function changes({ folders, files }: Generated): Map<string, string | undefined> {
  const wanted = [...files].filter(([path, content]) => current(path) !== content);
  const stale = folders.flatMap(present).filter((path) => !files.has(path) && !isWrittenByHand(path));
  return new Map([...wanted, ...stale.map((path) => [path, undefined] as const)]);
}

function write(path: string, content: string | undefined): void {
  const target = join(root, path);
  if (content === undefined) {
    rmSync(target);
  } else {
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, content);
  }
}

function showDifference(path: string, content: string | undefined): void {
  const scratch = mkdtempSync(join(tmpdir(), 'posthorn-generate-'));
  const fresh = join(scratch, 'generated');
  writeFileSync(fresh, content ?? '');
  const onDisk = existsSync(join(root, path)) ? join(root, path) : '/dev/null';
  spawnSync('diff', ['-u', '--label', path, '--label', `${path} (generated)`, onDisk, fresh], { stdio: 'inherit' });
  rmSync(scratch, { recursive: true });
}

const check = process.argv.includes('--check');
for (const generate of generators) {
  for (const [path, content] of changes(await generate())) {
    if (check) {
      showDifference(path, content);
      console.error(`${path} is not current: run "npm run generate" and commit the result`);
      process.exitCode = 1;
    } else {
      write(path, content);
      console.log(`${content === undefined ? 'removed' : 'wrote'} ${path}`);
    }
  }
}
