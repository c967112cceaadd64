import type { Client } from '../../operator/runtime/client.js';
import type { EventRecorder } from '../../operator/runtime/events.js';
import type { KubeObject } from '../../operator/runtime/object.js';
import { runCommand } from './command.js';
import { type Delivery, deferred, type Outcome } from './delivery.js';
import type { DestinationRules } from './destination.js';
import type { JobSettings } from './job.js';
import type { CourierMetrics } from './metrics.js';
import type { SecretReader } from './secrets.js';
import type { Target, WebhookTarget } from './target.js';
import { postToWebhook, shownUrl, type WebhookSecret } from './webhook.js';

export interface PerformOptions {
  readonly jobs: JobSettings;
  readonly rules: DestinationRules;
  readonly client: Client;
  readonly secrets: SecretReader;
  readonly events: EventRecorder;
  readonly metrics: CourierMetrics;
  /** Whether a rule may have another Job now. */
  readonly admit: (rule: string) => boolean;
  /** Aborts when the process is to end: a Job is then left to whoever asks next. */
  readonly signal: AbortSignal;
}

/** Hands a message to whatever its target is. Tells of trouble by an Event at the rule. */
export function createPerform(options: PerformOptions) {
  return async (delivery: Delivery, target: Target, attempt: number): Promise<Outcome> => {
    const kind = kindOf(target);
    if (kind === undefined) return deferred('4.3.5', 'the rule is not accepted as it is');
    const started = performance.now();
    const outcome = await (kind === 'webhook'
      ? webhook(delivery, target as Target & { webhook: WebhookTarget }, attempt, options)
      : command(delivery, target, attempt, options));
    options.metrics.took(kind, (performance.now() - started) / 1_000);
    if (outcome.problem !== undefined) {
      options.events.emit(ruleObject(target), { type: 'Warning', ...outcome.problem });
    }
    return outcome;
  };
}

/** What a target is; undefined for one that holds the place of a target that was not accepted. */
export function kindOf(target: Target | undefined): 'webhook' | 'command' | undefined {
  if (target?.webhook !== undefined) return 'webhook';
  return target?.command === undefined ? undefined : 'command';
}

async function webhook(
  delivery: Delivery,
  target: Target & { readonly webhook: WebhookTarget },
  attempt: number,
  options: PerformOptions,
): Promise<Outcome> {
  let secret: WebhookSecret;
  try {
    secret = await webhookSecret(target, options);
  } catch (error) {
    const message = `webhook ${shownUrl(target.webhook.url)}: ${error instanceof Error ? error.message : String(error)}`;
    return deferred('4.3.5', 'the webhook can not be used now', { problem: { reason: 'WebhookFailed', message } });
  }
  // Not cut short when the process ends: a message that has begun to go out is better waited for than sent twice.
  const outcome = await postToWebhook(delivery, target, { rules: rulesFor(target, options), secret, attempt });
  if (outcome.problem === undefined) return outcome;
  const message = `webhook ${shownUrl(target.webhook.url)}: ${outcome.problem.message}`;
  return { ...outcome, problem: { ...outcome.problem, message } };
}

/** What the administrator allows is for rules in the MailSystem's own namespace. */
function rulesFor({ rule }: Target, { rules, jobs }: PerformOptions): DestinationRules {
  return rule.namespace === jobs.namespace ? rules : { ...rules, allowHosts: [] };
}

async function webhookSecret(
  { rule, webhook: { secretRef } }: Target & { readonly webhook: WebhookTarget },
  { jobs, secrets }: PerformOptions,
): Promise<WebhookSecret> {
  if (!secretRef) return {};
  if (rule.namespace !== jobs.namespace) {
    throw new Error(`secretRef works in the MailSystem's namespace only, ${jobs.namespace}`);
  }
  const values = await secrets.read(secretRef.name);
  const [key, ca] = [values.get(secretRef.key), values.get('ca.crt')?.toString('utf8')];
  if (key === undefined && ca === undefined) {
    throw new Error(`Secret ${secretRef.name} has neither ${secretRef.key} nor ca.crt`);
  }
  return { key, ca };
}

function command(delivery: Delivery, target: Target, attempt: number, options: PerformOptions): Promise<Outcome> {
  const { jobs, client, secrets, events, signal, admit } = options;
  const { command: spec } = target;
  if (spec === undefined) throw new Error('a command was expected');
  const onRepeat = (reason: string, message: string) =>
    events.emit(ruleObject(target), { type: 'Warning', reason, message });
  return runCommand(
    delivery,
    { ...target, command: spec },
    { ...jobs, client, secrets, attempt, onRepeat, admit, signal },
  );
}

function ruleObject({ rule: { namespace, name, uid } }: Target): KubeObject {
  return { apiVersion: 'posthorn.dev/v1alpha1', kind: 'ForwardRule', metadata: { namespace, name, uid } };
}
