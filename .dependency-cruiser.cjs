/**
 * The layers of docs/adr and the architecture page, as errors:
 * crds ← cdk8s ← operator; services may use operator/directory and crds; nothing uses services.
 */
const TEST_CODE = '(\\.test\\.ts$|/testing/|^test/)';
const BUILD_CODE = '(^hack/|^crds/generate/|^charts/|\\.config\\.ts$)';

/** @returns a rule that forbids code (and its tests) in `from` to import `to` */
function layer(from, to, because) {
  return {
    name: `${from.replace('/', '-')}-layer`,
    severity: 'error',
    comment: because,
    from: { path: `^${from}/`, pathNot: TEST_CODE },
    to: { path: to },
  };
}

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    layer('crds', '^(cdk8s|operator|services|hack|charts)/', 'crds/ is the bottom: every other part may import it'),
    layer('cdk8s', '^(operator|services|hack|charts)/', 'constructs are used by the chart build too: no run-time code'),
    layer('operator', '^(services|hack|charts)/', 'operator/ never imports services/'),
    layer('services', '^(cdk8s|hack|charts|operator/(?!directory/))', 'services/ may use operator/directory/ only'),
    {
      name: 'tests-stay-out',
      severity: 'error',
      comment: 'Production code imports no test code',
      from: { path: '^(crds|cdk8s|operator|services)/', pathNot: TEST_CODE },
      to: { path: TEST_CODE },
    },
    {
      name: 'shipped-dependencies-only',
      severity: 'error',
      comment: 'The image is built with npm ci --omit=dev: a devDependency would be missing there',
      from: { path: '^(crds|cdk8s|operator|services)/', pathNot: `${TEST_CODE}|${BUILD_CODE}` },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'], dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'no-cycles',
      severity: 'error',
      comment: 'Two files that import each other are one idea in two files',
      from: {},
      to: { circular: true },
    },
    {
      name: 'resolvable',
      severity: 'error',
      comment: 'The import leads nowhere',
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    parser: 'swc',
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^(dist|node_modules/.cache)/' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'types', 'default'] },
  },
};
