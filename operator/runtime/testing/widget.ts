/** A kind of no meaning, for the conformance tests. */
import type { KubeObject, ResourceType } from '../object.js';

export const widgets: ResourceType = {
  group: 'test.posthorn.dev',
  version: 'v1',
  plural: 'widgets',
  kind: 'Widget',
  namespaced: true,
};

export interface Widget extends KubeObject {
  spec: { size: number; colour?: string };
  status?: { seen?: number; note?: string };
}

export const widgetCrd = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: 'widgets.test.posthorn.dev' },
  spec: {
    group: widgets.group,
    scope: 'Namespaced',
    names: { plural: widgets.plural, singular: 'widget', kind: widgets.kind, listKind: 'WidgetList' },
    versions: [
      {
        name: widgets.version,
        served: true,
        storage: true,
        subresources: { status: {} },
        schema: {
          openAPIV3Schema: {
            type: 'object',
            properties: {
              spec: {
                type: 'object',
                required: ['size'],
                properties: { size: { type: 'integer', minimum: 0 }, colour: { type: 'string' } },
              },
              status: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
            },
          },
        },
      },
    ],
  },
};

export function widget(namespace: string, name: string, size = 1): Widget {
  return { apiVersion: 'test.posthorn.dev/v1', kind: 'Widget', metadata: { namespace, name }, spec: { size } };
}

/** Makes `count` widgets named `PREFIX-0000` onwards. */
export async function createWidgets(
  client: {
    create<T extends KubeObject>(type: ResourceType, object: T, options: { fieldManager: string }): Promise<T>;
  },
  namespace: string,
  count: number,
  prefix = 'w',
): Promise<void> {
  const names = Array.from({ length: count }, (_, at) => `${prefix}-${String(at).padStart(5, '0')}`);
  await Promise.all(
    names.map((name, at) => client.create(widgets, widget(namespace, name, at), { fieldManager: 'test' })),
  );
}
