import type { Construct } from 'constructs';
import type { Component } from './context.js';
import { addChild } from './object.js';
import type { System } from './system.js';
import { renderRole } from './template.js';

/** A daemon's configuration: which templates, and the ConfigMap that holds them rendered. */
export interface Config {
  /** Folder under `images/`. */
  readonly image: string;
  /** Folder under `images/IMAGE/config/`, besides `common`. */
  readonly role: string;
  /** The ConfigMap is called `SYSTEM-CONFIGMAP-config`; default: the role. */
  readonly configMap?: string | undefined;
  /** Values that only this instance has (a shard's name). */
  readonly values?: Readonly<Record<string, string>> | undefined;
  /** The image's entrypoint watches `/config` and has the daemon reload it: no restart for a change. */
  readonly live?: boolean | undefined;
}

/** Renders a daemon's configuration. */
export function renderConfig(system: System, config: Config): Record<string, string> {
  return renderRole(system.templates, config.image, config.role, { ...system.values, ...config.values });
}

/** Name of the ConfigMap of a daemon's configuration. */
export function configMapName(system: System, config: Config): string {
  return system.names.config(config.configMap ?? config.role);
}

/** Adds the ConfigMap `SYSTEM-ROLE-config` of a daemon. */
export function addConfig(scope: Construct, system: System, component: Component, config: Config): void {
  addChild(scope, system, {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    name: configMapName(system, config),
    component,
    body: { data: renderConfig(system, config) },
  });
}
