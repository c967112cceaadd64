/** A mail server of the outside world that believes everybody. See mailserver.ts. */
import { startMailServer } from './mailserver.js';

const { SMTP_PORT, HTTP_PORT, SMTP_NAME, TLS_FOLDER, NAME_SERVER } = process.env;

startMailServer({
  name: SMTP_NAME ?? 'mx.outside.example',
  smtpPort: Number(SMTP_PORT ?? 25),
  httpPort: Number(HTTP_PORT ?? 8080),
  tlsFolder: TLS_FOLDER,
  nameServer: NAME_SERVER,
});
