import type { Check } from './check.js';
export const learningChecks: Record<string, Check> = {};
