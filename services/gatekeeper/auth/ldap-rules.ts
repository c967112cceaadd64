/** What LDAP is asked, and what its answers mean. Pure. */

/** spec.ldap of the MailSystem, without its Secrets. */
export interface LdapRules {
  readonly url: string;
  readonly startTLS: boolean;
  readonly baseDN: string;
  /** With `%{address}`, `%{local}`, `%{domain}`. */
  readonly filter: string;
  readonly method: 'Bind' | 'Hash';
  readonly passwordAttribute: string;
  readonly status?: { readonly attribute: string; readonly active: readonly string[] } | undefined;
  readonly cacheSeconds: number;
}

/** RFC 4515, section 3: whatever is no letter, digit or plain sign is written in hexadecimal. */
export function escapeFilter(value: string): string {
  return [...Buffer.from(value)]
    .map((octet) => {
      const character = String.fromCharCode(octet);
      return /[A-Za-z0-9@._+-]/.test(character) ? character : `\\${octet.toString(16).padStart(2, '0')}`;
    })
    .join('');
}

/** The filter that finds the entry of an address. */
export function filterFor(template: string, address: string): string {
  const at = address.lastIndexOf('@');
  const parts: Record<string, string> = {
    address,
    local: at === -1 ? address : address.slice(0, at),
    domain: at === -1 ? '' : address.slice(at + 1),
  };
  return template.replace(/%\{(address|local|domain)\}/g, (_, name: string) => escapeFilter(parts[name] ?? ''));
}

/** An attribute's values as text, whatever the case of its name. */
export function valuesOf(entry: Readonly<Record<string, unknown>>, attribute: string): string[] {
  const name = Object.keys(entry).find((key) => key.toLowerCase() === attribute.toLowerCase());
  const value = name === undefined ? [] : entry[name];
  return (Array.isArray(value) ? value : [value]).map(String);
}

/**
 * Whether the account may be used. Without a rule: yes. Without active values the attribute must be absent; with some,
 * it must be there and hold nothing else.
 */
export function isActive(entry: Readonly<Record<string, unknown>>, status: LdapRules['status']): boolean {
  if (status === undefined) return true;
  const values = valuesOf(entry, status.attribute).map((value) => value.trim().toLowerCase());
  if (status.active.length === 0) return values.length === 0;
  const active = status.active.map((value) => value.toLowerCase());
  return values.length > 0 && values.every((value) => active.includes(value));
}

/** OpenLDAP's names of schemes, where Dovecot's differ. Unsalted and clear ones are left out: they are not accepted. */
const SCHEMES: Readonly<Record<string, string>> = {
  CRYPT: 'CRYPT',
  SSHA: 'SSHA',
  SSHA256: 'SSHA256',
  SSHA512: 'SSHA512',
  ARGON2: 'ARGON2ID',
  ARGON2ID: 'ARGON2ID',
  ARGON2I: 'ARGON2I',
  BCRYPT: 'BLF-CRYPT',
  'BLF-CRYPT': 'BLF-CRYPT',
  'SHA256-CRYPT': 'SHA256-CRYPT',
  'SHA512-CRYPT': 'SHA512-CRYPT',
};

/** userPassword values (RFC 2307: `{scheme}hash`) as Dovecot reads them; those it cannot or should not read are dropped. */
export function dovecotHashes(values: readonly string[]): string[] {
  return values.flatMap((value) => {
    const match = /^\{([A-Za-z0-9-]+)\}([!-~]{8,1024})$/.exec(value.trim());
    const scheme = SCHEMES[match?.[1]?.toUpperCase() ?? ''];
    return scheme === undefined ? [] : [`{${scheme}}${match?.[2]}`];
  });
}
