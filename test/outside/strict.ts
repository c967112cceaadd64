/** A mail server of the outside world that believes nobody without proof, as large providers do. See mailserver.ts, judge.ts. */
import { createJudge } from './judge.js';
import { startMailServer } from './mailserver.js';

const { SMTP_PORT, HTTP_PORT, SMTP_NAME = 'mx.strict.example', TLS_FOLDER, NAME_SERVER, TRUSTED_SEALERS } = process.env;

startMailServer({
  name: SMTP_NAME,
  smtpPort: Number(SMTP_PORT ?? 25),
  httpPort: Number(HTTP_PORT ?? 8080),
  tlsFolder: TLS_FOLDER,
  nameServer: NAME_SERVER,
  judge: createJudge({
    name: SMTP_NAME,
    nameServer: NAME_SERVER,
    trustedSealers: new Set((TRUSTED_SEALERS ?? 'posthorn.example').split(',')),
  }),
});
