import { directoryLeader, names, type SystemIdentity, serviceHost } from '../../cdk8s/names.js';
import type { MailSystemResolved } from '../../crds/mailsystem.js';
import { type Directory, openDirectory } from '../directory/directory.js';
import type { SigningCache } from '../signing/cache.js';
import { type RedisUser, redisSigningCache } from '../signing/redis.js';

const POOLER_PORT = 6432;
const REDIS_PORT = 6379;

/** Opens what the operator writes of a MailSystem; nothing is connected before the first call. */
export type Connect = (
  identity: SystemIdentity,
  spec: MailSystemResolved,
  tls: { ca: string; cert: string; key: string },
  redisUser: RedisUser,
) => { directory: Directory; signing: SigningCache };

/** The MailSystem's own database and Redis, by their Services' names, with the operator's client certificate and, at Redis, its password. */
export const connectInCluster: Connect = (identity, spec, tls, redisUser) => ({
  directory: openDirectory({ host: directoryLeader(identity, spec.database), port: POOLER_PORT, tls }),
  signing: redisSigningCache({
    host: serviceHost(identity, names(identity.name).redis),
    port: REDIS_PORT,
    tls,
    ...redisUser,
  }),
});
