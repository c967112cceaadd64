import { defineConfig } from 'vitest/config';

const ignored = ['**/node_modules/**', '**/dist/**', 'test/e2e/**', 'test/bench/**'];
const conformance = ['test/conformance/**/*.test.ts', '**/*.conformance.test.ts'];

/**
 * `unit` tests touch nothing outside their process, or start a database of their own.
 * `conformance` tests start a real API server, so they run one file at a time.
 */
export default defineConfig({
  test: {
    maxWorkers: 2,
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
          fileParallelism: false,
        },
      },
    ],
  },
});
