import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { type ForwardRuleSpec, resolveForwardRule } from './forwardrule.js';
import { crdYaml } from './generate/crd.js';
import { generateCrds } from './generate/files.js';
import { structural } from './generate/structural.js';
import type * as plain from './generated/types.js';
import { API_VERSION, type KindName } from './group.js';
import { kindDefinitions } from './kinds.js';
import { type MailboxSpec, resolveMailbox } from './mailbox.js';
import { type MailDomainSpec, resolveMailDomain } from './maildomain.js';
import { durabilityOf, type MailSystemSpec, resolveMailSystem } from './mailsystem.js';
import { objectSchema } from './validate.js';

const root = join(import.meta.dirname, '..');

describe('generated CRDs', () => {
  it.each(Object.entries(kindDefinitions))('%s is what is committed', (_, definition) => {
    const committed = readFileSync(join(root, `crds/generated/${definition.names.singular}.yaml`), 'utf8');
    expect(crdYaml(definition)).toBe(committed);
  });

  // A field that goes, a rule that gets stricter, a list that merges otherwise: all break objects that exist.
  // The snapshot has the fields only, so that it changes for nothing else.
  it.each(Object.entries(kindDefinitions))('%s keeps its fields', (kind, definition) => {
    const shape = { spec: structuralOf(definition.spec, kind), status: structuralOf(definition.status, kind) };
    expect(fieldLines(shape)).toMatchSnapshot();
  });

  it('are the same when they are generated again', () => {
    expect(generateCrds()).toEqual(generateCrds());
  });
});

describe('structural', () => {
  const described = (schema: z.ZodType) => z.object({ field: schema.describe('A field.') });

  it.each([
    ['a union', z.union([z.string(), z.number()]), 'anyOf can not be'],
    [
      'a discriminated union',
      z.discriminatedUnion('a', [z.object({ a: z.literal('x') }), z.object({ a: z.literal('y') })]),
      'oneOf can not be',
    ],
    ['two patterns', z.string().regex(/a/).regex(/b/), 'allOf can not be'],
    ['a reference', z.string().meta({ id: 'x' }), 'definitions can not be'],
    ['a loose object', z.looseObject({}), 'additionalProperties can not be'],
    ['a record', z.record(z.string(), z.string()), 'additionalProperties can not be'],
    ['a nullable', z.string().nullable(), 'nullable can not be'],
    ['anything', z.unknown(), 'type undefined'],
    ['a list that does not say how it merges', z.array(z.string()), 'how it merges'],
  ])('refuses %s', (_, schema, problem) => {
    expect(() => structuralOf(described(schema), 'Kind')).toThrow(problem);
  });

  it('refuses a field without a description, and says which', () => {
    expect(() => structuralOf(z.object({ a: z.object({ b: z.string() }).describe('A.') }), 'Kind')).toThrow(
      'Kind.a.b: has no description',
    );
  });

  it('turns bounds of doubles into integer formats, drops defaults and tells them', () => {
    const schema = z.object({
      large: z.int().describe('Large.'),
      small: z.int().min(1).max(9).default(2).describe('Small.'),
    });
    expect(structuralOf(schema, 'Kind')).toEqual({
      type: 'object',
      properties: {
        large: { type: 'integer', format: 'int64', description: 'Large.' },
        small: { type: 'integer', format: 'int32', minimum: 1, maximum: 9, description: 'Small. Default: 2.' },
      },
      required: ['large'],
    });
  });
});

describe('docs/examples', () => {
  const files = readdirSync(join(root, 'docs/examples')).filter((name) => name.endsWith('.yaml'));
  const objects = files.flatMap((file) =>
    parseAllDocuments(readFileSync(join(root, 'docs/examples', file), 'utf8')).map((document) => ({
      file,
      object: document.toJS() as { apiVersion: string; kind: KindName; metadata: { name: string } },
    })),
  );
  const ours = objects.filter(({ object }) => object.apiVersion === API_VERSION);

  it('have every kind', () => {
    expect(new Set(ours.map(({ object }) => object.kind))).toEqual(new Set(Object.keys(kindDefinitions)));
  });

  it.each(ours)('$file: $object.kind $object.metadata.name is valid', ({ object }) => {
    expect(objectSchema(object.kind).safeParse(object).error).toBeUndefined();
  });
});

describe('resolve', () => {
  it('fills in every default of a MailSystem', () => {
    expect(resolveMailSystem({ hostname: 'Mail.Example.org' })).toMatchSnapshot();
  });

  it('gives nested defaults beside what is set', () => {
    const spec = resolveMailSystem({
      hostname: 'a.example',
      store: { shards: [{ name: 'b' }] },
      filter: { tagAbove: 5 },
    });
    expect(spec.store).toEqual({ shards: [{ name: 'b', replicas: 1 }], withoutReplica: 'Degrade', size: '20Gi' });
    expect(spec.filter).toEqual({ rejectAbove: 15, tagAbove: 5, greylistAbove: 4 });
  });

  it('keeps deliveries on two copies where there are two, unless the spec says otherwise', () => {
    const [one, two] = [{ replicas: 1 }, { replicas: 2 }];
    expect([durabilityOf({}, one), durabilityOf({}, two)]).toEqual(['Primary', 'Replicated']);
    expect(durabilityOf({ durability: 'Primary' }, two)).toBe('Primary');
  });

  it('takes the domain of a MailDomain from its name unless the spec has one', () => {
    expect(resolveMailDomain(undefined, 'example.org')).toMatchObject({
      domain: 'example.org',
      dkim: { algorithm: 'rsa-2048' },
    });
    expect(resolveMailDomain({ domain: 'Bücher.example' }, 'b').domain).toBe('xn--bcher-kva.example');
    expect(() => resolveMailDomain({}, 'example')).toThrow('domain "example" must be a domain');
    // What the API server can't see: the letters are full-width.
    expect(() => resolveMailDomain({ domain: 'courier.\uff49nvalid' }, 'x')).toThrow(
      '"courier.invalid" is below .invalid',
    );
  });

  it('makes addresses of a Mailbox canonical, drops repeated aliases and counts the quota', () => {
    const spec = { address: 'Mallory@Example.org', aliases: ['d@BÜCHER.de', 'D@bücher.de', 'mallory@example.org'] };
    expect(resolveMailbox({ ...spec, quota: '10Gi', passwordSecretRef: { name: 'm' } })).toEqual({
      address: 'mallory@example.org',
      aliases: ['d@xn--bcher-kva.de'],
      quotaBytes: 10 * 2 ** 30,
      passwordSecretRef: { name: 'm', key: 'password' },
      appPasswords: [],
      state: 'Active',
      suspended: { mail: 'Accept' },
      members: [],
      retention: [],
      sending: {},
      deletionPolicy: 'Retain',
    });
    expect(resolveMailbox({ address: 'a@b.example' }).quotaBytes).toBeUndefined();
  });

  it('makes addresses of a ForwardRule canonical, and leaves what is before the @ of a target as it is', () => {
    const to = ['O.Reilly@Gmail.example', 'o.reilly@gmail.EXAMPLE', 'x+Y@bücher.example'];
    expect(resolveForwardRule({ address: 'Ariel@BÜCHER.example', to })).toMatchObject({
      address: 'ariel@xn--bcher-kva.example',
      domain: 'xn--bcher-kva.example',
      to: ['o.reilly@gmail.example', 'x+Y@xn--bcher-kva.example'],
      webhooks: [],
      commands: [],
    });
    const all = resolveForwardRule({ address: '*@Example.org', webhooks: [{ url: 'https://b.example' }] });
    expect(all).toMatchObject({ address: '*@example.org', webhooks: [{ timeoutSeconds: 30 }] });
    expect(() => resolveForwardRule({ address: 'a@b.example', to: ['x'] })).toThrow('spec.to[0]: must be an address');
  });

  it('names every field that is wrong', () => {
    expect(() => resolveMailbox({ address: 'mallory', quota: '10 GB', aliases: ['x'] })).toThrow(
      /^Mailbox is invalid: spec.address: must be an address.*; spec.aliases\[0\]: must be.*; spec.quota: must be a size/,
    );
    expect(() => resolveMailbox({ address: 'a@b.example', quota: '5k' })).toThrow(
      'spec.quota: must be from 1Mi to 1Pi',
    );
    expect(() => resolveMailSystem({ hostname: 'a.example', database: { members: 2 as 1 } })).toThrow(
      'database.members',
    );
  });
});

describe('types', () => {
  it('are the same whether inferred from zod or generated for people', () => {
    // Checked by tsc: assignable both ways.
    const ways: [
      (a: MailboxSpec) => plain.MailboxSpec,
      (a: plain.MailboxSpec) => MailboxSpec,
      (a: MailDomainSpec) => plain.MailDomainSpec,
      (a: plain.MailDomainSpec) => MailDomainSpec,
      (a: MailSystemSpec) => plain.MailSystemSpec,
      (a: plain.MailSystemSpec) => MailSystemSpec,
      (a: ForwardRuleSpec) => plain.ForwardRuleSpec,
      (a: plain.ForwardRuleSpec) => ForwardRuleSpec,
    ] = [(a) => a, (a) => a, (a) => a, (a) => a, (a) => a, (a) => a, (a) => a, (a) => a];
    expect(ways).toHaveLength(8);
  });
});

function structuralOf(schema: z.ZodType, path: string): Record<string, unknown> {
  return structural(
    z.toJSONSchema(schema, { target: 'openapi-3.0', io: 'input' }) as Parameters<typeof structural>[0],
    path,
  );
}

/** One line for each leaf of a schema, without descriptions and messages. */
function fieldLines(value: unknown, path = ''): string[] {
  if (typeof value !== 'object' || value === null) return [`${path}: ${String(value)}`];
  return Object.entries(value)
    .filter(([key, inner]) => !(['description', 'message'].includes(key) && typeof inner === 'string'))
    .flatMap(([key, inner]) => fieldLines(inner, `${path}/${key}`));
}
