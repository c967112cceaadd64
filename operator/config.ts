import { readFileSync } from 'node:fs';
import { z } from 'zod';

const environment = z.object({
  POD_NAME: z.string().default('posthorn'),
  POD_NAMESPACE: z.string().default('posthorn'),
  POSTHORN_IMAGE_PREFIX: z.string().default('localhost/posthorn'),
  POSTHORN_IMAGE_TAG: z.string().default('dev'),
  POSTHORN_IMAGE_PULL_POLICY: z.enum(['Always', 'IfNotPresent', 'Never']).default('IfNotPresent'),
  POSTHORN_CLUSTER_DOMAIN: z.string().default('cluster.local'),
  POSTHORN_CLUSTER_DNS: z.string().optional(),
  POSTHORN_WATCH_NAMESPACES: z.string().default(''),
  POSTHORN_LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error']).default('info'),
  POSTHORN_METRICS_PORT: z.coerce.number().int().min(0).max(65535).default(8080),
});

/** How the operator was started. */
export interface OperatorConfig {
  podName: string;
  podNamespace: string;
  images: { prefix: string; tag: string; pullPolicy: 'Always' | 'IfNotPresent' | 'Never' };
  clusterDomain: string;
  /** IP address of the cluster's DNS, as pods see it. */
  clusterDns: string;
  /** Empty: all namespaces. */
  watchNamespaces: string[];
  logLevel: 'trace' | 'debug' | 'info' | 'warn' | 'error';
  metricsPort: number;
}

/**
 * Reads the environment. The cluster's DNS is the name server that kubelet gave this pod, unless it is set.
 *
 * @throws Error naming the variable that is wrong
 */
export function readConfig(env: NodeJS.ProcessEnv, resolvConf = '/etc/resolv.conf'): OperatorConfig {
  const result = environment.safeParse(env);
  if (!result.success) {
    throw new Error(
      `environment: ${result.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; ')}`,
    );
  }
  const values = result.data;
  return {
    podName: values.POD_NAME,
    podNamespace: values.POD_NAMESPACE,
    images: {
      prefix: values.POSTHORN_IMAGE_PREFIX,
      tag: values.POSTHORN_IMAGE_TAG,
      pullPolicy: values.POSTHORN_IMAGE_PULL_POLICY,
    },
    clusterDomain: values.POSTHORN_CLUSTER_DOMAIN,
    clusterDns: values.POSTHORN_CLUSTER_DNS ?? nameServer(readFileSync(resolvConf, 'utf8')),
    watchNamespaces: values.POSTHORN_WATCH_NAMESPACES.split(',')
      .map((name) => name.trim())
      .filter((name) => name !== ''),
    logLevel: values.POSTHORN_LOG_LEVEL,
    metricsPort: values.POSTHORN_METRICS_PORT,
  };
}

/** The first name server of a resolv.conf. */
export function nameServer(text: string): string {
  const address = /^\s*nameserver\s+(\S+)/m.exec(text)?.[1];
  if (address === undefined) throw new Error('there is no nameserver in /etc/resolv.conf: set POSTHORN_CLUSTER_DNS');
  return address;
}
