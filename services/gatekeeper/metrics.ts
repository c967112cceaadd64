import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { QueryResult } from '../lib/directory.js';

/** What the gatekeeper counts. Names begin with `posthorn_`; times are in seconds. No label holds an address of a person. */
export interface GatekeeperMetrics {
  readonly registry: Registry;
  query(result: QueryResult): void;
  policy(action: string, seconds: number): void;
  message(verdict: string): void;
  login(protocol: string, result: string): void;
  ldap(outcome: string, seconds: number): void;
  incident(kind: string): void;
  redis(shared: boolean): void;
}

const QUICK = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const PROTOCOLS = new Set(['imap', 'sieve', 'submission']);

export function createGatekeeperMetrics(): GatekeeperMetrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  const counter = <L extends string>(name: string, help: string, labelNames: L[]) =>
    new Counter<L>({ name: `posthorn_${name}`, help, labelNames, registers });
  const histogram = <L extends string>(name: string, help: string, labelNames: L[]) =>
    new Histogram<L>({ name: `posthorn_${name}`, help, labelNames, buckets: QUICK, registers });

  const queries = histogram('directory_query_seconds', 'Questions to a member of the directory, by how they ended.', [
    'host',
    'outcome',
  ]);
  const policy = histogram('gatekeeper_policy_seconds', "Answers to Postfix' policy requests.", ['answer']);
  const messages = counter('gatekeeper_messages_total', 'Messages at submission, by verdict.', ['verdict']);
  const logins = counter('gatekeeper_logins_total', 'Log-ins, by result.', ['protocol', 'result']);
  const ldap = histogram('gatekeeper_ldap_seconds', 'Passwords checked by LDAP, by outcome.', ['outcome']);
  const incidents = counter('gatekeeper_incidents_total', 'Accounts paused for how they sent, by kind.', ['kind']);
  const redis = new Gauge({ name: 'posthorn_gatekeeper_redis_shared', help: '1 while counts are shared.', registers });
  redis.set(1);
  return {
    registry,
    query: ({ host, outcome, seconds }) => queries.observe({ host, outcome }, seconds),
    policy: (action, seconds) => policy.observe({ answer: /^(\d{3}|[A-Z]+)/.exec(action)?.[0] ?? 'other' }, seconds),
    message: (verdict) => messages.inc({ verdict }),
    login: (protocol, result) => logins.inc({ protocol: PROTOCOLS.has(protocol) ? protocol : 'other', result }),
    ldap: (outcome, seconds) => ldap.observe({ outcome }, seconds),
    incident: (kind) => incidents.inc({ kind }),
    redis: (shared) => redis.set(shared ? 1 : 0),
  };
}
