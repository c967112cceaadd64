import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { Lease } from './lease-state.js';
import type { AgentState } from './ports.js';

export interface AgentMetrics {
  readonly registry: Registry;
  renewed(outcome: 'renewed' | 'refused' | 'unanswered', ms: number): void;
  promoted(how: string): void;
  lost(): void;
  unfit(): void;
  /** A promise that was asked for: given, refused, or no answer. */
  asked(yes: boolean | undefined): void;
  /** A promise that somebody has asked for here. */
  gave(yes: boolean): void;
  update(state: AgentState, lease: Lease, now: number): void;
}

const ROLES = ['stopped', 'replica', 'opening', 'primary'] as const;

/** Metrics of a store pod's agent. */
export function createAgentMetrics(): AgentMetrics {
  const registry = new Registry();
  const registers = [registry];
  const gauge = (name: string, help: string, labelNames: string[] = []) =>
    new Gauge({ name: `posthorn_agent_${name}`, help, labelNames, registers });
  const counter = (name: string, help: string, labelNames: string[] = []) =>
    new Counter({ name: `posthorn_agent_${name}`, help, labelNames, registers });

  const role = gauge('role', '1 for what this member is: stopped, replica, opening, primary', ['role']);
  const epoch = gauge('epoch', 'Epoch of the lease that this member holds, or the highest it has heard of');
  const deadline = gauge('deadline_seconds', 'Seconds until Dovecot would be killed; 0 when this member has no lease');
  const seeded = gauge('seeded', '1 when this member may be promoted');
  const renewals = counter('renewals_total', 'Renewals of the lease', ['outcome']);
  const seconds = new Histogram({
    name: 'posthorn_agent_renewal_seconds',
    help: 'How long the directory took to answer a renewal, or was waited for',
    buckets: [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2],
    registers,
  });
  const promotions = counter('promotions_total', 'How often this member became primary, and how', ['how']);
  const lost = counter('leases_lost_total', 'How often Dovecot was killed because the lease had run out or was gone');
  const unfit = counter('unfit_total', 'How often this member found that it cannot be a primary');
  const asked = counter('promises_asked_total', 'Promises asked of other members', ['answer']);
  const given = counter('promises_given_total', 'Promises that others have asked for', ['answer']);
  return {
    registry,
    renewed: (outcome, ms) => {
      renewals.inc({ outcome });
      seconds.observe(ms / 1000);
    },
    promoted: (how) => promotions.inc({ how }),
    lost: () => lost.inc(),
    unfit: () => unfit.inc(),
    asked: (yes) => asked.inc({ answer: yes === undefined ? 'none' : yes ? 'yes' : 'no' }),
    gave: (yes) => given.inc({ answer: yes ? 'yes' : 'no' }),
    update: (state, lease, now) => {
      for (const name of ROLES) role.set({ role: name }, state.role === name ? 1 : 0);
      epoch.set(state.epoch);
      seeded.set(state.seeded ? 1 : 0);
      deadline.set(lease.term ? Math.max(0, lease.term.deadline - now) / 1000 : 0);
    },
  };
}
