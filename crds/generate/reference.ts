import { API_VERSION, CATEGORY } from '../group.js';
import type { KindDefinition } from '../kinds.js';
import { jsonSchema, type SchemaNode } from './structural.js';

/** One field of a schema, with the path that a person would write: `store.shards[].name`. */
interface Field {
  readonly path: string;
  readonly schema: SchemaNode;
  readonly required: boolean;
}

/**
 * The reference page of a kind.
 *
 * @param examples YAML documents of this kind, the shortest first
 */
export function referencePage(definition: KindDefinition, examples: readonly string[]): string {
  const { kind, plural, shortNames, singular } = definition.names;
  const spec = fields(jsonSchema(definition.spec));
  const status = fields(jsonSchema(definition.status));
  return [
    `<!-- Generated from crds/${singular}.ts and docs/examples/ by "npm run generate". -->`,
    `# ${kind}`,
    definition.description,
    `\`apiVersion: ${API_VERSION}\`, \`kind: ${kind}\`, namespaced. ` +
      `kubectl knows it as \`${plural}\`, \`${singular}\` and \`${shortNames.join('`, `')}\`; \`kubectl get ${CATEGORY}\` lists it.`,
    '## Examples',
    ...examples.map((example) => `\`\`\`yaml\n${example.trim()}\n\`\`\``),
    '## spec',
    table(['field', 'type', 'default', 'description'], spec.map(specRow)),
    '## What the API server refuses',
    table(['field', 'message'], ruleRows(definition, spec)),
    '## status',
    table(
      ['field', 'type', 'description'],
      status.map(({ path, schema }) => [code(path), typeText(schema), schema.description ?? '']),
    ),
    ...conditionSections(definition),
  ]
    .join('\n\n')
    .concat('\n');
}

function fields(schema: SchemaNode, prefix = ''): Field[] {
  return Object.entries(schema.properties ?? {}).flatMap(([key, property]) => {
    const path = `${prefix}${key}`;
    const below = property.type === 'array' ? fields(property.items ?? {}, `${path}[].`) : fields(property, `${path}.`);
    return [{ path, schema: property, required: schema.required?.includes(key) ?? false }, ...below];
  });
}

function specRow({ path, schema, required }: Field): string[] {
  return [code(path), typeText(schema), required ? '**required**' : defaultText(schema), schema.description ?? ''];
}

function defaultText({ default: value, type }: SchemaNode): string {
  return value === undefined || type === 'object' ? '' : code(JSON.stringify(value));
}

function typeText(schema: SchemaNode): string {
  if (schema.type === 'array') return `list of ${typeText(schema.items ?? {})}`;
  if (schema.enum !== undefined) return schema.enum.map((value) => code(String(value))).join(' or ');
  const limits = [schema.minimum, schema.maximum];
  const exact = limits.every((limit) => limit !== undefined && Math.abs(limit) < Number.MAX_SAFE_INTEGER);
  return exact ? `${schema.type}, ${limits.join(' to ')}` : (schema.type ?? '');
}

function ruleRows(definition: KindDefinition, spec: readonly Field[]): string[][] {
  const whole = definition.rules.map(({ fieldPath, message }) => [code((fieldPath ?? '').slice(1)), message]);
  const top = rulesOf('spec', jsonSchema(definition.spec));
  return [...spec.flatMap(({ path, schema }) => rulesOf(`spec.${path}`, schema)), ...top, ...whole];
}

function rulesOf(path: string, schema: SchemaNode): string[][] {
  const own = schema.patternMessage === undefined ? [] : [[code(path), schema.patternMessage]];
  const rules = (schema['x-kubernetes-validations'] ?? []).map(({ fieldPath, message }) => [
    code(path + (fieldPath ?? '')),
    message,
  ]);
  const items = schema.items?.type === 'string' ? rulesOf(`${path}[]`, schema.items) : [];
  const duplicates = schema['x-kubernetes-list-type'];
  const unique = duplicates === 'set' || duplicates === 'map' ? [[code(path), 'Duplicate value']] : [];
  return [...own, ...rules, ...unique, ...items];
}

function conditionSections(definition: KindDefinition): string[] {
  return Object.entries(definition.conditions).flatMap(([type, { description, reasons }]) => [
    `### Condition ${type}`,
    description,
    table(
      ['reason', 'meaning'],
      Object.entries(reasons).map(([reason, meaning]) => [code(reason), meaning]),
    ),
  ]);
}

const code = (text: string) => `\`${text}\``;

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
