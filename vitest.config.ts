import { defineConfig } from 'vitest/config';

const ignored = ['**/node_modules/**', '**/dist/**', 'test/e2e/**'];
const conformance = ['test/conformance/**/*.test.ts', '**/*.conformance.test.ts'];

/**
 * `unit` tests touch nothing outside their process, or start a database of their own.
 * `conformance` tests talk to a real API server, which starts when the first of them asks for it.
 */
export default defineConfig({
  test: {
    maxWorkers: 2,
    globalSetup: ['operator/runtime/testing/global-setup.ts'],
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['**/*.test.ts'],
          exclude: [...ignored, ...conformance],
          testTimeout: 20_000,
          hookTimeout: 60_000,
        },
      },
      {
        extends: true,
        test: {
          name: 'conformance',
          include: conformance,
          exclude: ignored,
          testTimeout: 60_000,
          hookTimeout: 90_000,
        },
      },
    ],
  },
});
