import { API_VERSION } from '../group.js';
import type { KindDefinition } from '../kinds.js';

/** A class on @kubernetes-models/base for objects of the kind: fills in apiVersion and kind, and has `validate()`. */
export function modelFile(definition: KindDefinition): string {
  const { kind, singular } = definition.names;
  return `// Generated from crds/${singular}.ts by "npm run generate".

import { createTypeMetaGuard, Model, type ModelData, setValidateFunc } from '@kubernetes-models/base';
import { validator } from '../../validate.js';
import type { ${kind} as I${kind} } from '../types.js';

/** ${definition.description} */
export class ${kind} extends Model<I${kind}> implements I${kind} {
  static readonly apiVersion = '${API_VERSION}';
  static readonly kind = '${kind}';
  static readonly is = createTypeMetaGuard<I${kind}>(${kind});

  declare apiVersion: I${kind}['apiVersion'];
  declare kind: I${kind}['kind'];
  declare metadata?: I${kind}['metadata'];
  declare spec${definition.specOptional ? '?' : ''}: I${kind}['spec'];
  declare status?: I${kind}['status'];

  constructor(data?: ModelData<I${kind}>) {
    super();
    this.setDefinedProps({ apiVersion: ${kind}.apiVersion, kind: ${kind}.kind, ...data } as ModelData<I${kind}>);
  }
}

setValidateFunc<I${kind}>(${kind}, validator<I${kind}>(${kind}.kind));
`;
}
