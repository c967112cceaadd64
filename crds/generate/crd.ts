import { stringify } from 'yaml';
import { CATEGORY, GROUP, VERSION } from '../group.js';
import type { KindDefinition } from '../kinds.js';
import { jsonSchema, structural } from './structural.js';

const API_VERSION_DESCRIPTION = `Version of the schema of this object: ${GROUP}/${VERSION}.`;

/** The CustomResourceDefinition of a kind as a plain object. */
export function crd(definition: KindDefinition): Record<string, unknown> {
  const { kind, plural, singular, shortNames, printerColumns } = definition.names;
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${GROUP}` },
    spec: {
      group: GROUP,
      scope: 'Namespaced',
      names: { kind, listKind: `${kind}List`, plural, singular, shortNames, categories: [CATEGORY] },
      versions: [
        {
          name: VERSION,
          served: true,
          storage: true,
          subresources: { status: {} },
          additionalPrinterColumns: printerColumns,
          schema: { openAPIV3Schema: objectSchema(definition) },
        },
      ],
    },
  };
}

function objectSchema(definition: KindDefinition): Record<string, unknown> {
  const { kind } = definition.names;
  return {
    type: 'object',
    description: definition.description,
    properties: {
      apiVersion: { type: 'string', description: API_VERSION_DESCRIPTION },
      kind: { type: 'string', description: `Kind of this object: ${kind}.` },
      metadata: { type: 'object' },
      spec: structural(jsonSchema(definition.spec), `${kind}.spec`),
      status: structural(jsonSchema(definition.status), `${kind}.status`),
    },
    ...(definition.specOptional ? {} : { required: ['spec'] }),
    ...(definition.rules.length === 0 ? {} : { 'x-kubernetes-validations': definition.rules }),
  };
}

/** The CustomResourceDefinition as YAML, ready for `kubectl apply`. */
export function crdYaml(definition: KindDefinition): string {
  const header = `# Generated from crds/${definition.names.singular}.ts by "npm run generate".\n`;
  return header + stringify(crd(definition), { lineWidth: 0, aliasDuplicateObjects: false });
}
