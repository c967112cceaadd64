import { z } from 'zod';

const memory = z.string().regex(/^\d+(\.\d+)?(Ki|Mi|Gi|k|M|G)?$/);
const cpu = z.union([z.string().regex(/^\d+(\.\d+)?m?$/), z.number().positive()]);
const resources = z.strictObject({ cpu: cpu.optional(), memory: memory.optional() });
const namespace = z
  .string()
  .max(63)
  .regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/);

/** Values of the operator's chart: the source of `values.yaml` and `values.schema.json`. */
export const chartValues = z.strictObject({
  image: z
    .strictObject({
      prefix: z.string().min(1).default('localhost/posthorn').describe('Registry and path before the image name.'),
      tag: z
        .string()
        .regex(/^[\w][\w.-]{0,127}$/)
        .default('dev')
        .describe('Tag of every image, the operator’s and the mail system’s.'),
      pullPolicy: z
        .enum(['Always', 'IfNotPresent', 'Never'])
        .default('IfNotPresent')
        .describe('When nodes pull images.'),
    })
    .prefault({})
    .describe('Images of the operator and, unless a MailSystem says otherwise, of the daemons: PREFIX/NAME:TAG.'),
  imagePullSecrets: z
    .array(z.strictObject({ name: z.string().min(1) }))
    .default([])
    .describe('Secrets for pulling the operator’s image, as [{name: …}].'),
  replicas: z.int().min(0).max(5).default(1).describe('Operator pods. One works at a time, the others stand by.'),
  resources: z
    .strictObject({ requests: resources.optional(), limits: resources.optional() })
    .default({ requests: { cpu: '50m', memory: '128Mi' }, limits: { memory: '512Mi' } })
    .describe('Resources of an operator pod.'),
  watchNamespaces: z
    .array(namespace)
    .default([])
    .describe('Namespaces to look after; the operator then has rights in these only. Empty: all.'),
  logLevel: z.enum(['trace', 'debug', 'info', 'warn', 'error']).default('info').describe('Least level that is logged.'),
  clusterDomain: z
    .string()
    .regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/)
    .default('cluster.local')
    .describe('The cluster’s DNS domain.'),
  crds: z
    .strictObject({
      install: z.boolean().default(true).describe('Install and upgrade the resource definitions with this release.'),
    })
    .prefault({})
    .describe('Resource definitions. They are kept when the release is uninstalled.'),
  metrics: z
    .strictObject({
      port: z.int().min(1024).max(65535).default(8080).describe('Port of /metrics, /healthz and /readyz.'),
      service: z.boolean().default(true).describe('Make a Service for the metrics.'),
      serviceMonitor: z
        .strictObject({
          enabled: z.boolean().default(false).describe('Make a ServiceMonitor (needs Prometheus Operator).'),
          interval: z
            .string()
            .regex(/^\d+(ms|s|m|h)$/)
            .default('30s')
            .describe('Time between scrapes.'),
          labels: z.record(z.string(), z.string()).default({}).describe('Labels by which Prometheus selects it.'),
        })
        .prefault({})
        .describe('Scraping by Prometheus Operator.'),
    })
    .prefault({})
    .describe('Metrics of the operator.'),
  podAnnotations: z.record(z.string(), z.string()).default({}).describe('Annotations of the operator’s pods.'),
  nodeSelector: z.record(z.string(), z.string()).default({}).describe('Labels of the nodes that may run the operator.'),
  tolerations: z.array(z.looseObject({})).default([]).describe('Taints that the operator tolerates.'),
  affinity: z.looseObject({}).default({}).describe('Affinity of the operator’s pods.'),
});

export type ChartValues = z.infer<typeof chartValues>;

/** The defaults, for `values.yaml` and for the plain manifest. */
export const defaultValues: ChartValues = chartValues.parse({});
