import { expect, it } from 'vitest';
import { mailSystemObjects } from '../../cdk8s/mailsystem.js';
import { sampleContext } from '../../cdk8s/testing/sample.js';
import { FIXTURE_TEMPLATES } from '../../cdk8s/testing/templates.js';
import { patroniConfigMaps } from './teardown.js';

it('removes exactly the ConfigMaps that Patroni may write', () => {
  const objects = mailSystemObjects(sampleContext(undefined, { templates: FIXTURE_TEMPLATES }));
  const role = objects.find(({ kind, metadata }) => kind === 'Role' && metadata.name === 'mail-postgres');
  const rules = role?.rules as { resources: string[]; resourceNames?: string[] }[];
  const names = rules.flatMap((rule) => (rule.resources.includes('configmaps') ? (rule.resourceNames ?? []) : []));
  expect(names.length).toBeGreaterThan(0);
  expect(patroniConfigMaps('mail').sort()).toEqual(names.sort());
});
