// Generated from crds/mailboxmove.ts by "npm run generate".

import { createTypeMetaGuard, Model, type ModelData, setValidateFunc } from '@kubernetes-models/base';
import { validator } from '../../validate.js';
import type { MailboxMove as IMailboxMove } from '../types.js';

/** A MailboxMove moves mailboxes to another shard while they are used. Deleting it while it runs leaves those that have not moved where they were. */
export class MailboxMove extends Model<IMailboxMove> implements IMailboxMove {
  static readonly apiVersion = 'posthorn.dev/v1alpha1';
  static readonly kind = 'MailboxMove';
  static readonly is = createTypeMetaGuard<IMailboxMove>(MailboxMove);

  declare apiVersion: IMailboxMove['apiVersion'];
  declare kind: IMailboxMove['kind'];
  declare metadata?: IMailboxMove['metadata'];
  declare spec: IMailboxMove['spec'];
  declare status?: IMailboxMove['status'];

  constructor(data?: ModelData<IMailboxMove>) {
    super();
    this.setDefinedProps({ apiVersion: MailboxMove.apiVersion, kind: MailboxMove.kind, ...data } as ModelData<IMailboxMove>);
  }
}

setValidateFunc<IMailboxMove>(MailboxMove, validator<IMailboxMove>(MailboxMove.kind));
