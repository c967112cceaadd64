import { randomUUID } from 'node:crypto';

/** A delivery report (RFC 3464) that says that a recipient's mailbox is gone. */
export function report(server: string, recipient: string, sender: string, original: Buffer): Buffer {
  const boundary = `=_${randomUUID()}`;
  const domain = server.slice(server.indexOf('.') + 1);
  const headers = original.toString('latin1').split(/\r?\n\r?\n/)[0] ?? '';
  const lines = [
    `From: Mail Delivery System <mailer-daemon@${domain}>`,
    `To: <${sender}>`,
    'Subject: Undelivered Mail',
    `Date: ${new Date().toUTCString()}`,
    `Message-ID: <${randomUUID()}@${server}>`,
    'Auto-Submitted: auto-replied',
    'MIME-Version: 1.0',
    `Content-Type: multipart/report; report-type=delivery-status; boundary="${boundary}"`,
    '',
    `--${boundary}`,
    'Content-Type: text/plain; charset=us-ascii',
    '',
    `Your message to ${recipient} could not be delivered.`,
    '',
    `--${boundary}`,
    'Content-Type: message/delivery-status',
    '',
    `Reporting-MTA: dns; ${server}`,
    '',
    `Final-Recipient: rfc822; ${recipient}`,
    'Action: failed',
    'Status: 5.2.1',
    'Diagnostic-Code: smtp; 550 5.2.1 mailbox disabled',
    '',
    `--${boundary}`,
    'Content-Type: text/rfc822-headers',
    '',
    headers,
    '',
    `--${boundary}--`,
    '',
  ];
  return Buffer.from(lines.join('\r\n'), 'latin1');
}
