import { API_VERSION, KINDS } from '../group.js';
import type { KindDefinition } from '../kinds.js';
import { describe, jsonSchema, type SchemaNode } from './structural.js';

const HEADER = `// Generated from the schemas in crds/ by "npm run generate".

import type { Metadata } from '../object.js';
`;

/** Interfaces of all kinds, as people write objects. */
export function typesFile(definitions: readonly KindDefinition[]): string {
  return [HEADER, ...definitions.flatMap(kindInterfaces)].join('\n');
}

function kindInterfaces(definition: KindDefinition): string[] {
  const { kind } = definition.names;
  const top = [
    comment(definition.description, ''),
    `export interface ${kind} {`,
    `  apiVersion: '${API_VERSION}';`,
    `  kind: '${KINDS[kind as keyof typeof KINDS].kind}';`,
    '  metadata?: Metadata;',
    `  spec${definition.specOptional ? '?' : ''}: ${kind}Spec;`,
    `  status?: ${kind}Status;`,
    '}\n',
  ].join('\n');
  const spec = interfaces(`${kind}Spec`, kind, jsonSchema(definition.spec));
  return [top, ...spec, ...interfaces(`${kind}Status`, `${kind}Status`, jsonSchema(definition.status))];
}

/** The interface called `name`, then those of the objects in it, whose names start with `prefix`. */
function interfaces(name: string, prefix: string, schema: SchemaNode): string[] {
  const inner: string[] = [];
  const lines = Object.entries(schema.properties ?? {}).map(([key, property]) => {
    const optional = schema.required?.includes(key) ? '' : '?';
    return `${comment(describe(property), '  ')}\n  ${key}${optional}: ${typeOf(property, nameOf(prefix, key), inner)};`;
  });
  return [`${comment(schema.description, '')}\nexport interface ${name} {\n${lines.join('\n')}\n}\n`, ...inner];
}

function typeOf(schema: SchemaNode, name: string, inner: string[]): string {
  if (schema.type === 'array') return arrayOf(typeOf(schema.items ?? {}, singular(name), inner));
  if (schema.type === 'object') {
    inner.push(...interfaces(name, name, schema));
    return name;
  }
  if (schema.enum !== undefined) return schema.enum.map(literal).join(' | ');
  return schema.type === 'integer' ? 'number' : (schema.type ?? 'unknown');
}

const arrayOf = (item: string) => (item.includes(' ') ? `(${item})[]` : `${item}[]`);
const literal = (value: string | number) => (typeof value === 'number' ? String(value) : `'${value}'`);
const nameOf = (prefix: string, key: string) => prefix + key.charAt(0).toUpperCase() + key.slice(1);
const singular = (name: string) => name.replace(/s$/, '');

function comment(text: string | undefined, indent: string): string {
  return `${indent}/** ${(text ?? '').replaceAll('*/', '*\\/')} */`;
}
