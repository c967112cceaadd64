import { Resolver } from 'node:dns/promises';
import SMTPConnection from 'nodemailer/lib/smtp-connection';

export interface Outgoing {
  from: string;
  to: string;
  message: Buffer;
}

/** Sends mail as a server does: to the MX of the recipient's domain, or else to its address. Rejects when it isn't taken. */
export function createSender(name: string, nameServer: string | undefined): (mail: Outgoing) => Promise<void> {
  const resolver = new Resolver({ timeout: 3_000, tries: 3 });
  if (nameServer !== undefined) resolver.setServers([nameServer]);
  return async ({ from, to, message }) => {
    const host = await exchanger(resolver, to.slice(to.lastIndexOf('@') + 1));
    const [address] = await resolver.resolve4(host);
    const connection = new SMTPConnection({
      host: address ?? host,
      port: 25,
      name,
      tls: { rejectUnauthorized: false },
      connectionTimeout: 10_000,
      socketTimeout: 60_000,
    });
    try {
      await new Promise<void>((resolve, reject) => {
        connection.once('error', reject);
        connection.connect((error) => (error ? reject(error) : resolve()));
      });
      await new Promise<void>((resolve, reject) => {
        connection.send({ from, to: [to] }, message, (error) => (error ? reject(error) : resolve()));
      });
    } finally {
      connection.quit();
    }
  };
}

async function exchanger(resolver: Resolver, domain: string): Promise<string> {
  const found = await resolver.resolveMx(domain).catch(() => []);
  return found.sort((a, b) => a.priority - b.priority)[0]?.exchange ?? domain;
}
