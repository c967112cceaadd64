// Generated from crds/mailbox.ts by "npm run generate".

import { createTypeMetaGuard, Model, type ModelData, setValidateFunc } from '@kubernetes-models/base';
import { validator } from '../../validate.js';
import type { Mailbox as IMailbox } from '../types.js';

/** A Mailbox is a person's or a bot's mailbox: its addresses, its size and how to log in. */
export class Mailbox extends Model<IMailbox> implements IMailbox {
  static readonly apiVersion = 'posthorn.dev/v1alpha1';
  static readonly kind = 'Mailbox';
  static readonly is = createTypeMetaGuard<IMailbox>(Mailbox);

  declare apiVersion: IMailbox['apiVersion'];
  declare kind: IMailbox['kind'];
  declare metadata?: IMailbox['metadata'];
  declare spec: IMailbox['spec'];
  declare status?: IMailbox['status'];

  constructor(data?: ModelData<IMailbox>) {
    super();
    this.setDefinedProps({ apiVersion: Mailbox.apiVersion, kind: Mailbox.kind, ...data } as ModelData<IMailbox>);
  }
}

setValidateFunc<IMailbox>(Mailbox, validator<IMailbox>(Mailbox.kind));
