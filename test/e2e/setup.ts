import type { TestProject } from 'vitest/node';
import { type Environment, ensureEnvironment } from './lib/environment.js';

declare module 'vitest' {
  interface ProvidedContext {
    environment: Environment;
  }
}

/** Once before all suites: the mail system that they test. */
export async function setup(project: TestProject): Promise<void> {
  const started = Date.now();
  const environment = await ensureEnvironment((text) => console.log(`[${Math.round((Date.now() - started) / 1000)} s] ${text}`));
  project.provide('environment', environment);
}
