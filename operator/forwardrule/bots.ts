import type { ForwardRule, ForwardRuleResolved } from '../../crds/forwardrule.js';
import type { CourierTarget } from '../directory/rows.js';
import type { BotContext, Problem, Targets } from './context.js';
import { webhookProblem } from './webhook.js';

/** The webhooks and commands of a rule, each in its place. Pure. */
export function botTargets(
  { metadata }: ForwardRule,
  { webhooks, commands }: ForwardRuleResolved,
  system: string,
  { systemSpec, clusterDomain, secretExists }: BotContext,
): Targets<CourierTarget> {
  const { namespace = '' } = metadata;
  const isHome = system.startsWith(`${namespace}/`);
  // Whoever owns the MailSystem lets their own rules into the cluster, not everybody's who has a domain here.
  const allowHosts = isHome ? (systemSpec(system)?.webhooks.allowHosts ?? []) : undefined;
  const bots: Bot[] = [
    ...webhooks.map((webhook) => ({
      target: { webhook },
      secret: webhook.secretRef?.name,
      problem: botProblem(webhookProblem(webhook.url, allowHosts, clusterDomain), webhook, isHome),
    })),
    ...commands.map((command) => ({
      target: { command },
      secret: command.secretRef?.name,
      problem: isHome ? undefined : elsewhere(namespace),
    })),
  ];
  const missing = bots.flatMap(({ secret, problem }) =>
    problem !== undefined || secret === undefined || secretExists(namespace, secret)
      ? []
      : [noSecret(namespace, secret)],
  );
  return {
    targets: bots.map(({ target, problem }) => (problem === undefined ? target : { refused: problem.reason })),
    problems: distinct([...bots.flatMap(({ problem }) => problem ?? []), ...missing]),
  };
}

/** Whether a rule has a webhook or a command that may get mail. */
export function hasBot(rule: ForwardRule, spec: ForwardRuleResolved, system: string, context: BotContext): boolean {
  return botTargets(rule, spec, system, context).targets.some((target) => !('refused' in target));
}

interface Bot {
  target: CourierTarget;
  secret: string | undefined;
  problem: Problem | undefined;
}

function botProblem(
  problem: string | undefined,
  webhook: { secretRef?: unknown },
  isHome: boolean,
): Problem | undefined {
  if (problem !== undefined) return { reason: 'WebhookNotAllowed', message: `${problem}.` };
  if (isHome || webhook.secretRef === undefined) return undefined;
  const message =
    'A webhook has a secretRef, which is possible only for rules in the namespace of their MailSystem: remove it.';
  return { reason: 'WebhookNotAllowed', message };
}

function elsewhere(namespace: string): Problem {
  const message = `Commands run only for rules in the namespace of their MailSystem, and ${namespace} is another: use a webhook.`;
  return { reason: 'CommandNotAllowed', message };
}

function noSecret(namespace: string, name: string): Problem {
  const message = `There is no Secret ${name} in namespace ${namespace}, which a webhook or command names in secretRef: create it. Until then mail for that target waits.`;
  return { reason: 'SecretNotFound', message };
}

function distinct(problems: readonly Problem[]): Problem[] {
  return [...new Map(problems.map((problem) => [problem.message, problem])).values()];
}
