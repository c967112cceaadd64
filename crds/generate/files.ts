import { kindDefinitions } from '../kinds.js';
import { crdYaml } from './crd.js';

/** Everything that is generated from the schemas of the kinds: path from the repository's root → content. */
export function generateCrds(): { folders: string[]; files: Map<string, string> } {
  const files = new Map<string, string>();
  for (const definition of Object.values(kindDefinitions)) {
    const { singular } = definition.names;
    files.set(`crds/generated/${singular}.yaml`, crdYaml(definition));
  }
  return { folders: ['crds/generated', 'docs/reference'], files };
}
