// Generated from crds/mailsystem.ts by "npm run generate".

import { createTypeMetaGuard, Model, type ModelData, setValidateFunc } from '@kubernetes-models/base';
import { validator } from '../../validate.js';
import type { MailSystem as IMailSystem } from '../types.js';

/** A MailSystem is one installation of a mail service: its servers, their sizes and their storage. */
export class MailSystem extends Model<IMailSystem> implements IMailSystem {
  static readonly apiVersion = 'posthorn.dev/v1alpha1';
  static readonly kind = 'MailSystem';
  static readonly is = createTypeMetaGuard<IMailSystem>(MailSystem);

  declare apiVersion: IMailSystem['apiVersion'];
  declare kind: IMailSystem['kind'];
  declare metadata?: IMailSystem['metadata'];
  declare spec: IMailSystem['spec'];
  declare status?: IMailSystem['status'];

  constructor(data?: ModelData<IMailSystem>) {
    super();
    this.setDefinedProps({ apiVersion: MailSystem.apiVersion, kind: MailSystem.kind, ...data } as ModelData<IMailSystem>);
  }
}

setValidateFunc<IMailSystem>(MailSystem, validator<IMailSystem>(MailSystem.kind));
