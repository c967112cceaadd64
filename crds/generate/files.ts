import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { type KindDefinition, kindDefinitions } from '../kinds.js';
import { crdYaml } from './crd.js';
import { modelFile } from './model.js';
import { referencePage } from './reference.js';
import { typesFile } from './types.js';

const EXAMPLES = join(import.meta.dirname, '..', '..', 'docs', 'examples');

/** Everything that is generated from the schemas of the kinds: path from the repository's root → content. */
export function generateCrds(): { folders: string[]; files: Map<string, string> } {
  const definitions = Object.values(kindDefinitions);
  const files = new Map([['crds/generated/types.ts', typesFile(definitions)]]);
  for (const definition of definitions) {
    const { singular } = definition.names;
    files.set(`crds/generated/${singular}.yaml`, crdYaml(definition));
    files.set(`crds/generated/models/${singular}.ts`, modelFile(definition));
    files.set(`docs/reference/${singular}.md`, referencePage(definition, examplesOf(definition)));
  }
  return { folders: ['crds/generated', 'docs/reference'], files };
}

/** The kind's part of the smallest installation, then its own example. */
function examplesOf({ names }: KindDefinition): string[] {
  return ['single-node.yaml', `${names.singular}.yaml`].flatMap((file) =>
    parseAllDocuments(readFileSync(join(EXAMPLES, file), 'utf8'))
      .filter((document) => document.get('kind') === names.kind)
      .map((document) => document.toString({ directives: false, flowCollectionPadding: false, lineWidth: 0 })),
  );
}
