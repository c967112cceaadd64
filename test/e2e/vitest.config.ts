import { defineConfig } from 'vitest/config';

/** End-to-end suites share one cluster and one mail system, so they run one after the other. */
export default defineConfig({
  test: {
    root: new URL('../..', import.meta.url).pathname,
    include: ['test/e2e/**/*.e2e.ts'],
    globalSetup: ['test/e2e/setup.ts'],
    fileParallelism: false,
    sequence: { concurrent: false },
    testTimeout: 180_000,
    hookTimeout: 600_000,
    bail: 0,
    reporters: ['verbose'],
  },
});
