import { existsSync, readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/**
 * The real helm program: `$POSTHORN_HELM`, or what `./hack/tool helm` has built on this machine.
 * Undefined when there is none, except in CI.
 * @throws Error in CI when there is none: a chart that no Helm has read is not tested.
 */
export function helmProgram(env: NodeJS.ProcessEnv = process.env): string | undefined {
  if (env.POSTHORN_HELM) return env.POSTHORN_HELM;
  const bin = join(env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'posthorn', 'bin');
  const programs = existsSync(bin) ? readdirSync(bin).filter((name) => /^helm-v[0-9.]+(-[0-9a-f]+)?$/.test(name)) : [];
  const newest = programs.sort().at(-1);
  if (newest) return join(bin, newest);
  if (env.CI === 'true') throw new Error(`no helm in ${bin}: run ./hack/tool helm, or set POSTHORN_HELM`);
  return undefined;
}
