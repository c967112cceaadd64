import type {
  V1Affinity,
  V1Container,
  V1EnvVar,
  V1PodSpec,
  V1PodTemplateSpec,
  V1Probe,
  V1SecurityContext,
  V1Volume,
  V1VolumeMount,
} from '@kubernetes/client-node';
import { type Config, configMapName, renderConfig } from './config.js';
import type { Component } from './context.js';
import { image } from './names.js';
import { labels, type System, selectorLabels, shortHash } from './system.js';

/** Annotation whose change rolls the pods: what they read only at their start. */
export const RESTART_HASH = 'posthorn.dev/restart-hash';

/** A volume of the pod and where a daemon sees it. */
export interface Mount {
  /** Name of a pod volume or of a volume claim template. */
  readonly volume: string;
  readonly path: string;
  readonly readOnly?: boolean;
}

/** One container: a role of one of our images. */
export interface Daemon {
  readonly name: string;
  /** Folder under `images/`. */
  readonly image: string;
  /** Argument of the image's entrypoint and of its health check. */
  readonly role: string;
  /** Fixed uid and gid of the daemon; 0 only for Postfix, whose master starts as root and drops rights itself. */
  readonly uid: number;
  /** Capabilities that root needs; everything else is dropped. */
  readonly capabilities?: readonly string[];
  readonly ports?: Readonly<Record<string, number>>;
  readonly env?: readonly V1EnvVar[];
  readonly config?: Config;
  readonly mounts?: readonly Mount[];
  /** Directories besides `/run` (in memory) and `/tmp` that start empty and may be written. */
  readonly writable?: readonly string[];
  readonly cpu: string;
  readonly memory: string;
  readonly memoryLimit: string;
  /** Seconds from the container's start after which it is killed when not yet alive; default 300 (slow disks, busy nodes). */
  readonly startSeconds?: number;
  /**
   * Seconds between readiness checks (default 15), and how many must fail in a row (default 2). A check starts a
   * process, which is not free; and but for the database's leader no Service waits for readiness.
   */
  readonly ready?: { readonly seconds: number; readonly failures: number };
}

/** A pod: daemons and what they share. */
export interface Pod {
  readonly component: Component;
  /** More selector labels (the shard). */
  readonly labels?: Readonly<Record<string, string>>;
  /** More labels that select nothing of ours: these may change. */
  readonly podLabels?: Readonly<Record<string, string>>;
  /** Started in this order, each after the one before is alive, and stopped after the containers. */
  readonly sidecars?: readonly Daemon[];
  /** The first is what `kubectl logs` and `kubectl exec` mean by default. */
  readonly containers: readonly [Daemon, ...Daemon[]];
  /** Group that may read the Secrets and owns the volumes. */
  readonly fsGroup: number;
  readonly volumes?: readonly V1Volume[];
  /** Names of volumes that come from the StatefulSet's claim templates. */
  readonly claims?: readonly string[];
  /** The pod resolves names with its own validating unbound at 127.0.0.1. */
  readonly ownResolver?: boolean;
  /** Daemons without rights bind ports below 1024. */
  readonly lowPorts?: boolean;
  /** Only what talks to the API server gets a token. */
  readonly serviceAccountName?: string;
  readonly graceSeconds: number;
  /** No two of them on one node, whatever it costs: one for which there is no node waits. Default: better apart. */
  readonly apart?: boolean;
}

/** Pod template of a workload, fit for the Pod Security level `baseline` (`restricted` without Postfix). */
export function podTemplate(system: System, pod: Pod): V1PodTemplateSpec {
  const daemons = [...(pod.sidecars ?? []), ...pod.containers];
  return {
    metadata: {
      labels: labels(system, pod.component, { ...pod.labels, ...pod.podLabels }),
      annotations: {
        'kubectl.kubernetes.io/default-container': pod.containers[0].name,
        [RESTART_HASH]: restartHash(system, pod.component, daemons),
      },
    },
    spec: {
      ...podSecurity(pod, daemons),
      ...podDns(system, pod),
      automountServiceAccountToken: pod.serviceAccountName !== undefined,
      ...(pod.serviceAccountName ? { serviceAccountName: pod.serviceAccountName } : {}),
      enableServiceLinks: false,
      terminationGracePeriodSeconds: pod.graceSeconds,
      ...(pod.apart ? { affinity: apart(system, pod) } : {}),
      topologySpreadConstraints: [
        {
          maxSkew: 1,
          topologyKey: 'kubernetes.io/hostname',
          whenUnsatisfiable: 'ScheduleAnyway',
          labelSelector: { matchLabels: selectorLabels(system, pod.component, pod.labels) },
        },
      ],
      ...(pod.sidecars?.length ? { initContainers: pod.sidecars.map((d) => sidecar(system, d)) } : {}),
      containers: pod.containers.map((d) => container(system, d)),
      volumes: [...(pod.volumes ?? []), ...daemons.flatMap((d) => daemonVolumes(system, d))],
    },
  };
}

function apart(system: System, pod: Pod): V1Affinity {
  return {
    podAntiAffinity: {
      requiredDuringSchedulingIgnoredDuringExecution: [
        {
          topologyKey: 'kubernetes.io/hostname',
          labelSelector: { matchLabels: selectorLabels(system, pod.component, pod.labels) },
        },
      ],
    },
  };
}

/** Hash over the configuration that is read only at the start: the rest, Secrets and peers are reloaded live. */
function restartHash(system: System, component: Component, daemons: readonly Daemon[]): string {
  const configs = daemons.map((d) => (d.config && !d.config.live ? renderConfig(system, d.config) : null));
  return shortHash([configs, system.restartHashes?.[component] ?? null]);
}

function podSecurity(pod: Pod, daemons: readonly Daemon[]): Partial<V1PodSpec> {
  return {
    securityContext: {
      fsGroup: pod.fsGroup,
      // The queue and the database keep modes of their own: don't touch them at every start.
      fsGroupChangePolicy: 'OnRootMismatch',
      ...(daemons.every((d) => d.uid !== 0) ? { runAsNonRoot: true } : {}),
      seccompProfile: { type: 'RuntimeDefault' },
      ...(pod.lowPorts ? { sysctls: [{ name: 'net.ipv4.ip_unprivileged_port_start', value: '0' }] } : {}),
    },
  };
}

function podDns(system: System, pod: Pod): Partial<V1PodSpec> {
  if (!pod.ownResolver) return {};
  return {
    dnsPolicy: 'None',
    dnsConfig: {
      nameservers: ['127.0.0.1'],
      searches: [
        `${system.namespace}.svc.${system.clusterDomain}`,
        `svc.${system.clusterDomain}`,
        system.clusterDomain,
      ],
      // No search list for names with a dot: every host name in a configuration is complete.
      options: [{ name: 'ndots', value: '1' }, { name: 'edns0' }, { name: 'trust-ad' }],
    },
  };
}

/**
 * A native sidecar (Kubernetes 1.29 or later): its start-up probe holds back what needs it, and it stops last,
 * so that Postfix can still resolve and filter while it finishes.
 */
function sidecar(system: System, daemon: Daemon): V1Container {
  return { ...container(system, daemon), restartPolicy: 'Always' };
}

function container(system: System, daemon: Daemon): V1Container {
  return {
    name: daemon.name,
    image: image(system, daemon.image),
    imagePullPolicy: system.spec.images.pullPolicy ?? system.images.pullPolicy,
    args: [daemon.role],
    ...(daemon.env?.length ? { env: [...daemon.env] } : {}),
    ...(daemon.ports ? { ports: containerPorts(daemon.ports) } : {}),
    ...probes(daemon),
    resources: {
      requests: { cpu: daemon.cpu, memory: daemon.memory },
      limits: { memory: daemon.memoryLimit },
    },
    securityContext: containerSecurity(daemon),
    volumeMounts: daemonMounts(daemon),
  };
}

function containerPorts(ports: Readonly<Record<string, number>>) {
  return Object.entries(ports).map(([name, containerPort]) => ({ name, containerPort, protocol: 'TCP' }));
}

function probes(daemon: Daemon): Pick<V1Container, 'startupProbe' | 'livenessProbe' | 'readinessProbe'> {
  const check = (kind: 'live' | 'ready', periodSeconds: number, failureThreshold: number): V1Probe => ({
    exec: { command: ['/usr/local/bin/healthcheck', daemon.role, kind] },
    periodSeconds,
    failureThreshold,
    timeoutSeconds: 10,
  });
  const ready = daemon.ready ?? { seconds: 15, failures: 2 };
  return {
    startupProbe: check('live', 2, Math.ceil((daemon.startSeconds ?? 300) / 2)),
    // A daemon that dies is restarted at once; this is for one that hangs.
    livenessProbe: check('live', 60, 3),
    readinessProbe: check('ready', ready.seconds, ready.failures),
  };
}

function containerSecurity(daemon: Daemon): V1SecurityContext {
  return {
    runAsUser: daemon.uid,
    runAsGroup: daemon.uid,
    ...(daemon.uid === 0 ? {} : { runAsNonRoot: true }),
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: {
      drop: ['ALL'],
      ...(daemon.capabilities?.length ? { add: [...daemon.capabilities] } : {}),
    },
  };
}

function daemonMounts(daemon: Daemon): V1VolumeMount[] {
  return [
    ...(daemon.config ? [{ name: `${daemon.name}-config`, mountPath: '/config', readOnly: true }] : []),
    { name: `${daemon.name}-run`, mountPath: '/run' },
    { name: `${daemon.name}-tmp`, mountPath: '/tmp' },
    ...(daemon.writable ?? []).map((path) => ({ name: writableName(daemon, path), mountPath: path })),
    ...(daemon.mounts ?? []).map((m) => ({
      name: m.volume,
      mountPath: m.path,
      ...(m.readOnly ? { readOnly: true } : {}),
    })),
  ];
}

function daemonVolumes(system: System, daemon: Daemon): V1Volume[] {
  return [
    ...(daemon.config
      ? [{ name: `${daemon.name}-config`, configMap: { name: configMapName(system, daemon.config) } }]
      : []),
    { name: `${daemon.name}-run`, emptyDir: { medium: 'Memory', sizeLimit: '32Mi' } },
    { name: `${daemon.name}-tmp`, emptyDir: { sizeLimit: '256Mi' } },
    ...(daemon.writable ?? []).map((path) => ({ name: writableName(daemon, path), emptyDir: {} })),
  ];
}

function writableName(daemon: Daemon, path: string): string {
  return `${daemon.name}${path.replace(/[^a-z0-9]+/g, '-')}`;
}
