import type { Check } from './check.js';
export const outboundChecks: Record<string, Check> = {};
