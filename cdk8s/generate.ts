import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { chartFiles } from './chart.js';
import { plainManifest } from './manifest.js';

/** The operator's chart and its plain manifest: path from the repository's root → content. */
export function generateCharts(): { folders: string[]; files: Map<string, string> } {
  const root = join(import.meta.dirname, '..');
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  const files = new Map([['charts/posthorn.yaml', plainManifest({ root, version })]]);
  for (const [path, content] of chartFiles({ root, version })) files.set(`charts/posthorn/${path}`, content);
  return { folders: ['charts/posthorn'], files };
}
