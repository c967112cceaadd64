// Generated from crds/forwardrule.ts by "npm run generate".

import { createTypeMetaGuard, Model, type ModelData, setValidateFunc } from '@kubernetes-models/base';
import { validator } from '../../validate.js';
import type { ForwardRule as IForwardRule } from '../types.js';

/** A ForwardRule hands the mail of an address, or of all addresses of a domain that nobody has, to other addresses, webhooks or commands. */
export class ForwardRule extends Model<IForwardRule> implements IForwardRule {
  static readonly apiVersion = 'posthorn.dev/v1alpha1';
  static readonly kind = 'ForwardRule';
  static readonly is = createTypeMetaGuard<IForwardRule>(ForwardRule);

  declare apiVersion: IForwardRule['apiVersion'];
  declare kind: IForwardRule['kind'];
  declare metadata?: IForwardRule['metadata'];
  declare spec: IForwardRule['spec'];
  declare status?: IForwardRule['status'];

  constructor(data?: ModelData<IForwardRule>) {
    super();
    this.setDefinedProps({ apiVersion: ForwardRule.apiVersion, kind: ForwardRule.kind, ...data } as ModelData<IForwardRule>);
  }
}

setValidateFunc<IForwardRule>(ForwardRule, validator<IForwardRule>(ForwardRule.kind));
