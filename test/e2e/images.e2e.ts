import { describe, expect, inject, it } from 'vitest';
import { builtin, type KubeObject } from '../../operator/runtime/object.js';
import { namespace, operatorNamespace } from './lib/environment.js';
import { kube, kubectl, kubectlOk } from './lib/kube.js';

inject('environment');

interface Container {
  name: string;
  image: string;
  securityContext?: {
    readOnlyRootFilesystem?: boolean;
    runAsNonRoot?: boolean;
    runAsUser?: number;
    allowPrivilegeEscalation?: boolean;
    capabilities?: { drop?: string[]; add?: string[] };
  };
}
interface Pod extends KubeObject {
  spec: { containers: Container[]; initContainers?: Container[]; securityContext?: { runAsNonRoot?: boolean } };
}

async function containers(): Promise<{ pod: Pod; container: Container }[]> {
  const lists = await Promise.all(
    [namespace, operatorNamespace].map((ns) => kube().list<Pod>(builtin.pod, { namespace: ns })),
  );
  return lists
    .flatMap((list) => list.items)
    .flatMap((pod) =>
      [...pod.spec.containers, ...(pod.spec.initContainers ?? [])].map((container) => ({ pod, container })),
    );
}

/** One container per image, to look inside. */
async function samples(): Promise<{ pod: Pod; container: Container }[]> {
  const byImage = new Map((await containers()).map((sample) => [sample.container.image, sample]));
  return [...byImage.values()];
}

function inside({ pod, container }: { pod: Pod; container: Container }, script: string) {
  const { namespace: ns = '', name } = pod.metadata;
  return kubectl(['exec', '-n', ns, name, '-c', container.name, '--', 'sh', '-c', script]);
}

describe('every container', () => {
  it('[R36] has a read-only root, no privilege escalation and no capability that it does not need', async () => {
    for (const { pod, container } of await containers()) {
      const context = container.securityContext ?? {};
      const who = `${pod.metadata.name}/${container.name}`;
      expect(context.readOnlyRootFilesystem, who).toBe(true);
      expect(context.allowPrivilegeEscalation, who).toBe(false);
      expect(context.capabilities?.drop, who).toEqual(['ALL']);
      const isPostfix = container.name === 'postfix';
      expect(context.runAsNonRoot ?? pod.spec.securityContext?.runAsNonRoot ?? false, who).toBe(!isPostfix);
      if (!isPostfix) expect(context.capabilities?.add ?? [], who).toEqual([]);
    }
  });

  it('[R36] can in fact not write to its root', async () => {
    for (const sample of await samples()) {
      const { code, stderr } = await inside(sample, 'echo x > /usr/probe');
      expect(code, `${sample.container.image}: ${stderr}`).not.toBe(0);
    }
  });

  it('[R36] runs Debian trixie, without a compiler or a package list in it', async () => {
    for (const sample of await samples()) {
      const { stdout } = await inside(
        sample,
        '. /etc/os-release && echo "$ID $VERSION_CODENAME"; command -v gcc cc tcc clang go rustc || true; find /var/lib/apt/lists -type f -size +0 | wc -l',
      );
      const [system, ...rest] = stdout.trim().split('\n');
      expect(system, sample.container.image).toBe('debian trixie');
      expect(rest, sample.container.image).toEqual(['0']);
    }
  });

  it('[R36] logs no password', async () => {
    for (const { pod, container } of await samples()) {
      const { namespace: ns = '', name } = pod.metadata;
      const log = await kubectlOk(['logs', '-n', ns, name, '-c', container.name, '--tail=20']);
      expect(log, `${name}/${container.name}`).not.toMatch(/correct-horse/);
    }
  });
});
