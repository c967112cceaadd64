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
  return async (mail) => {
    const host = await exchanger(resolver, mail.to.slice(mail.to.lastIndexOf('@') + 1));
    const connection = await firstThatAnswers(name, await resolver.resolve4(host));
    try {
      await new Promise<void>((resolve, reject) => {
        const { from, to, message } = mail;
        connection.send({ from, to: [to] }, message, (error) => (error ? reject(error) : resolve()));
      });
    } finally {
      connection.quit();
    }
  };
}

/** Not every address of a host need listen. */
async function firstThatAnswers(name: string, addresses: string[]): Promise<SMTPConnection> {
  let problem: unknown = new Error('no address');
  for (const host of addresses) {
    const connection = new SMTPConnection({
      host,
      port: 25,
      name,
      tls: { rejectUnauthorized: false },
      connectionTimeout: 2_000,
      socketTimeout: 60_000,
    });
    try {
      await new Promise<void>((resolve, reject) => {
        connection.once('error', reject);
        connection.connect((error) => (error ? reject(error) : resolve()));
      });
      return connection;
    } catch (error) {
      problem = error;
      connection.close();
    }
  }
  throw problem;
}

async function exchanger(resolver: Resolver, domain: string): Promise<string> {
  const found = await resolver.resolveMx(domain).catch(() => []);
  return found.sort((a, b) => a.priority - b.priority)[0]?.exchange ?? domain;
}
