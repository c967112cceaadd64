import { Construct } from 'constructs';
import type { System } from './system.js';

/** placeholder until images/postgres is there */
export class Postgres extends Construct {
  constructor(scope: Construct, id: string, _system: System) {
    super(scope, id);
  }
}
