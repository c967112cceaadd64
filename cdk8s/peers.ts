import { Construct } from 'constructs';
import { addChild } from './object.js';
import type { System } from './system.js';

/** Which internal SMTP client has which public key: a Postfix texthash table, reloaded live by mx and egress. */
export class Peers extends Construct {
  constructor(scope: Construct, id: string, system: System) {
    super(scope, id);
    addChild(this, system, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      name: system.names.peers,
      body: { data: { peers: peersTable(system.peers) } },
    });
  }
}

const FINGERPRINT = /^[0-9A-F]{2}(:[0-9A-F]{2}){31}$/;

/**
 * Lines `FINGERPRINT ROLE`, sorted, each once.
 * @throws Error on a fingerprint that Postfix would never print: it would match nobody, silently.
 */
export function peersTable(peers: System['peers']): string {
  const lines = peers.map(({ fingerprint, role }) => {
    if (!FINGERPRINT.test(fingerprint)) {
      throw new Error(
        `${JSON.stringify(fingerprint)} (${role}) is not a SHA-256 fingerprint in Postfix's form AA:BB:…`,
      );
    }
    return `${fingerprint} ${role}\n`;
  });
  return [...new Set(lines)].sort().join('');
}
