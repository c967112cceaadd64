import type { TestProject } from 'vitest/node';
import { type Environment, ensureEnvironment } from './lib/environment.js';

declare module 'vitest' {
  interface ProvidedContext {
    environment: Environment;
  }
}

/** Once before all suites: the mail system that they test. */
export async function setup(project: TestProject): Promise<void> {
  if (process.env.POSTHORN_E2E_LIST !== undefined) {
    // Suites are only looked at: their addresses are never used.
    const nowhere = { host: '192.0.2.1', port: 1 };
    const outside = { nameServer: '192.0.2.1', sink: '192.0.2.1', strict: '192.0.2.1', trustAnchor: '' };
    project.provide('environment', {
      outside,
      smtp: nowhere,
      submission: nowhere,
      submissions: nowhere,
      imap: nowhere,
      sieve: nowhere,
      ca: '',
    });
    return;
  }
  const started = Date.now();
  const environment = await ensureEnvironment((text) =>
    console.log(`[${Math.round((Date.now() - started) / 1000)} s] ${text}`),
  );
  project.provide('environment', environment);
}
