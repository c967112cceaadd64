import { describe, expect, it } from 'vitest';
import { isDrift, isNews, isSame } from './news.js';
import type { KubeObject } from './runtime/object.js';

const object = (version: number, fields: object = {}, metadata: object = {}): KubeObject => ({
  apiVersion: 'apps/v1',
  kind: 'StatefulSet',
  metadata: { name: 'x', generation: 1, resourceVersion: String(version), ...metadata },
  ...fields,
});
const update = (after: KubeObject, before: KubeObject) =>
  ({ type: 'updated', object: after, previous: before, initial: false }) as const;

describe('what an event means', () => {
  it("a status is no news, a person's change is", () => {
    expect(isNews(update(object(2, { status: { a: 1 } }), object(1)))).toBe(false);
    expect(isNews(update(object(2, {}, { generation: 2 }), object(1)))).toBe(true);
    expect(isNews(update(object(2, {}, { annotations: { 'posthorn.dev/paused': 'true' } }), object(1)))).toBe(true);
    expect(isNews({ type: 'deleted', object: object(2), initial: false })).toBe(true);
  });

  it('a new version of the same is nothing', () => {
    expect(isSame(object(2), object(1))).toBe(true);
    expect(isSame(object(2, { status: { a: 1 } }), object(1))).toBe(false);
    expect(isSame(object(1), undefined)).toBe(false);
  });

  it('a child drifts by anything but its status', () => {
    expect(isDrift(update(object(2, { status: { a: 1 } }), object(1)))).toBe(false);
    expect(isDrift(update(object(2, {}, { labels: { a: 'b' } }), object(1)))).toBe(true);
    expect(isDrift({ type: 'deleted', object: object(2), initial: false })).toBe(true);
  });
});
