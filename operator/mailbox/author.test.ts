import { describe, expect, it } from 'vitest';
import { authorOf } from './author.js';

const owns = (field: string) => ({ fieldsV1: { 'f:spec': { [field]: {} } } });

describe('authorOf', () => {
  it('is who owns the state, not who wrote last, nor the operator that writes the status', () => {
    const entries = [
      { manager: 'argocd-controller', time: '2026-01-01T00:00:00Z', ...owns('f:quota') },
      { manager: 'kubectl-edit', time: '2026-01-02T00:00:00Z', ...owns('f:state') },
      { manager: 'helm', time: '2026-01-03T00:00:00Z', ...owns('f:quota') },
      { manager: 'posthorn-mailbox', subresource: 'status', time: '2026-01-04T00:00:00Z' },
    ];
    expect(authorOf(entries)).toBe('kubectl-edit');
  });

  it('is who wrote last when the state was taken away', () => {
    const entries = [
      { manager: 'helm', time: '2026-01-03T00:00:00Z', ...owns('f:quota') },
      { manager: 'kubectl-patch', time: '2026-01-04T00:00:00Z', ...owns('f:address') },
      { manager: 'posthorn-mailbox', subresource: 'status', time: '2026-01-05T00:00:00Z' },
    ];
    expect(authorOf(entries)).toBe('kubectl-patch');
    expect(authorOf([])).toBeUndefined();
  });
});
