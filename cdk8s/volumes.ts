import type { V1Volume } from '@kubernetes/client-node';
import type { TlsRole } from './context.js';
import type { Mount } from './pod.js';
import type { System } from './system.js';

/** Readable by the pod's group only: private keys. */
const SECRET_MODE = 0o440;

/** The internal certificate of a role, at `/tls`. */
export function tlsVolume(system: System, role: TlsRole): V1Volume {
  return { name: 'tls', secret: { secretName: system.names.tls(role), defaultMode: SECRET_MODE } };
}

/**
 * The certificate that clients on the Internet see, at `/tls-public`: the operator's copy, whether it was made or given,
 * so that a broken one that somebody gives never reaches a daemon.
 */
export function publicTlsVolume(system: System): V1Volume {
  return { name: 'tls-public', secret: { secretName: system.names.tlsPublic, defaultMode: SECRET_MODE } };
}

/** Where Postfix finds Dovecot's auth service: a socket in a folder that both containers of the pod see. */
export function saslVolume(): V1Volume {
  return { name: 'sasl', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } };
}

/** PostgreSQL's socket, which the containers of a member's pod share. */
export const SOCKET_VOLUME: V1Volume = { name: 'socket', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } };

/** Connection to a database that is not ours, at `/external`. */
export function externalDatabaseVolume(system: System): V1Volume {
  const secretName = system.spec.database.external?.secretRef.name;
  if (!secretName) throw new Error(`MailSystem ${system.namespace}/${system.name} has no spec.database.external`);
  return { name: 'external', secret: { secretName, defaultMode: SECRET_MODE } };
}

/**
 * What the LDAP server is asked with, at `/ldap`: `username` and `password` from the one Secret, `ca.crt` from the other.
 * None when `spec.ldap` names neither. A missing Secret holds back no pod: log-ins by LDAP fail until it is there.
 */
export function ldapVolumes(system: System): V1Volume[] {
  const { bindSecretRef, caSecretRef } = system.spec.ldap ?? {};
  const keys = (name: string, items: { key: string; path: string }[]) => ({ secret: { name, items, optional: true } });
  const sources = [
    ...(bindSecretRef
      ? [
          keys(
            bindSecretRef.name,
            ['username', 'password'].map((key) => ({ key, path: key })),
          ),
        ]
      : []),
    ...(caSecretRef ? [keys(caSecretRef.name, [{ key: caSecretRef.key, path: 'ca.crt' }])] : []),
  ];
  return sources.length === 0 ? [] : [{ name: 'ldap', projected: { defaultMode: SECRET_MODE, sources } }];
}

/** Fingerprints of the internal SMTP clients, at `/peers`. */
export function peersVolume(system: System): V1Volume {
  return { name: 'peers', configMap: { name: system.names.peers } };
}

/** The password by which a store knows the proxy, at `/secret`. */
export function storePasswordVolume(system: System): V1Volume {
  return { name: 'secret', secret: { secretName: system.names.storePassword, defaultMode: SECRET_MODE } };
}

/** The pods that come to Redis, besides the operator. Each is a user with the keys that it needs. */
export const REDIS_USERS = ['mx', 'submission', 'egress', 'proxy'] as const;
export type RedisUser = (typeof REDIS_USERS)[number];

/** A pod's own password at Redis, at `/redis/password`. */
export function redisUserVolume(system: System, user: RedisUser): V1Volume {
  const items = [{ key: user, path: 'password' }];
  return { name: REDIS_USER.volume, secret: { secretName: system.names.redisUsers, defaultMode: SECRET_MODE, items } };
}

/** All of them, at `/users`, for Redis itself. */
export function redisUsersVolume(system: System): V1Volume {
  return { name: 'users', secret: { secretName: system.names.redisUsers, defaultMode: SECRET_MODE } };
}

export const TLS: Mount = { volume: 'tls', path: '/tls', readOnly: true };
export const TLS_PUBLIC: Mount = { volume: 'tls-public', path: '/tls-public', readOnly: true };
export const LDAP: Mount = { volume: 'ldap', path: '/ldap', readOnly: true };
export const PEERS: Mount = { volume: 'peers', path: '/peers', readOnly: true };
export const STORE_PASSWORD: Mount = { volume: 'secret', path: '/secret', readOnly: true };
export const REDIS_USER: Mount = { volume: 'redis-user', path: '/redis', readOnly: true };
export const SASL: Mount = { volume: 'sasl', path: '/run/sasl' };
export const SOCKET: Mount = { volume: 'socket', path: '/run/postgresql' };
export const EXTERNAL_DATABASE: Mount = { volume: 'external', path: '/external', readOnly: true };
