import { Construct } from 'constructs';
import { externalPooler, UID } from './daemons.js';
import { addIngressPolicy, addService, DIRECTORY_CLIENTS } from './network.js';
import type { System } from './system.js';
import { DIRECTORY_PORT } from './values.js';
import { externalDatabaseVolume, tlsVolume } from './volumes.js';
import { addDeployment, addDisruptionBudget } from './workload.js';

/**
 * The directory's door when the database is somebody else's: PgBouncer that takes the daemons' certificates
 * and logs in at the server of the Secret `spec.database.external.secretRef`, mounted at `/external`.
 * No end-to-end test runs it yet.
 */
export class Pooler extends Construct {
  constructor(scope: Construct, id: string, system: System) {
    super(scope, id);
    const component = 'pooler';
    const name = system.names.pooler;
    addDeployment(this, system, {
      component,
      name,
      replicas: 2,
      containers: [externalPooler()],
      fsGroup: UID.postgres,
      volumes: [tlsVolume(system, 'pooler'), externalDatabaseVolume(system)],
      graceSeconds: 30,
    });
    addService(this, system, { name, component, kind: 'internal', ports: { pooler: [DIRECTORY_PORT, 'pooler'] } });
    addDisruptionBudget(this, system, { name, component });
    addIngressPolicy(this, system, {
      name,
      component,
      allow: [{ ports: [DIRECTORY_PORT], from: DIRECTORY_CLIENTS }],
    });
  }
}
