// Generated from crds/maildomain.ts by "npm run generate".

import { createTypeMetaGuard, Model, type ModelData, setValidateFunc } from '@kubernetes-models/base';
import { validator } from '../../validate.js';
import type { MailDomain as IMailDomain } from '../types.js';

/** A MailDomain is a domain whose mail a MailSystem receives, stores and signs. */
export class MailDomain extends Model<IMailDomain> implements IMailDomain {
  static readonly apiVersion = 'posthorn.dev/v1alpha1';
  static readonly kind = 'MailDomain';
  static readonly is = createTypeMetaGuard<IMailDomain>(MailDomain);

  declare apiVersion: IMailDomain['apiVersion'];
  declare kind: IMailDomain['kind'];
  declare metadata?: IMailDomain['metadata'];
  declare spec?: IMailDomain['spec'];
  declare status?: IMailDomain['status'];

  constructor(data?: ModelData<IMailDomain>) {
    super();
    this.setDefinedProps({ apiVersion: MailDomain.apiVersion, kind: MailDomain.kind, ...data } as ModelData<IMailDomain>);
  }
}

setValidateFunc<IMailDomain>(MailDomain, validator<IMailDomain>(MailDomain.kind));
