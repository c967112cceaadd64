/**
 * The part of ./hack/demo that shows mail: installs the operator by helm and the example resources, with a small world
 * outside (a signed private DNS root and a mail server), receives a message, submits two, verifies what arrives outside.
 */
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { authenticate } from 'mailauth';
import type { KubeObject } from '../operator/runtime/object.js';
import { mailboxType, mailDomainType, mailSystemType } from '../operator/types.js';
import { discover, type Environment, installOperator, type Place, publish } from '../test/e2e/lib/environment.js';
import { waitForMessage } from '../test/e2e/lib/imap.js';
import { apply, kubectlOk, readYaml, root, waitFor, waitForCondition } from '../test/e2e/lib/kube.js';
import { ensureOutside, type Outside, received, resolverOf } from '../test/e2e/lib/outside.js';
import { send } from '../test/e2e/lib/smtp.js';

const EXAMPLE = 'docs/examples/single-node.yaml';
const place: Place = { namespace: 'mail', system: 'mail', domain: 'example.org', hostname: 'mail.example.org' };
const [user, pass] = ['mallory@example.org', 'change this password'];

const started = Date.now();
const say = (text: string) =>
  console.log(`    ${String(Math.round((Date.now() - started) / 1000)).padStart(4)}s  ${text}`);

async function main(): Promise<void> {
  say('a small world outside: a DNS root of its own, signed, and a mail server');
  const outside = await ensureOutside();
  say('the operator: helm upgrade --install posthorn charts/posthorn');
  await installOperator();
  say(`the example resources: ${EXAMPLE}`);
  const objects = readYaml(await readFile(`${root}${EXAMPLE}`, 'utf8'));
  await apply(...objects.map((object) => inThisWorld(object, outside)));
  say('waiting until the MailSystem, the MailDomain and the Mailbox are Ready');
  await waitForCondition(mailSystemType, { namespace: place.namespace, name: place.system }, {}, 600_000);
  await waitForCondition(mailDomainType, { namespace: place.namespace, name: place.domain }, {});
  await waitForCondition(mailboxType, { namespace: place.namespace, name: 'mallory' }, {});
  const environment = await discover(outside, place);
  say("entering the MailDomain's records (status.records) in the outside DNS");
  await publish(environment, place);
  const raw = await receive(environment);
  const verdicts = [await submit(environment, 'submission'), await submit(environment, 'submissions')];
  await conclude(environment, raw, verdicts);
}

/** The example as it is, but resolving names in the demo's own world: there may be no Internet here. */
function inThisWorld(object: KubeObject, { nameServer, trustAnchor }: Outside): KubeObject {
  if (object.kind !== 'MailSystem') return object;
  const resolver = { rootServers: [{ name: 'ns.outside.example', address: nameServer }], trustAnchors: [trustAnchor] };
  return { ...object, spec: { ...(object as { spec?: object }).spec, resolver } } as KubeObject;
}

async function receive({ smtp, imap, ca }: Environment): Promise<string> {
  say(`a message from outside, to ${smtp.host} port ${smtp.port}`);
  const messageId = `<${randomUUID()}@outside.example>`;
  const mail = { from: 'friend@outside.example', to: user, subject: 'Welcome', text: 'It works.', messageId };
  // A sender that is not known yet may be greylisted; real servers try again.
  await waitFor('the message to be accepted', () => send(smtp, mail, { ca, serverName: place.hostname }), 420_000);
  say('reading it over IMAPS');
  return waitForMessage(imap, { user, pass }, messageId);
}

async function submit(environment: Environment, port: 'submission' | 'submissions'): Promise<string> {
  const { outside, ca } = environment;
  const target = environment[port];
  say(`a message submitted on port ${target.port}`);
  const to = `someone-${randomUUID().slice(0, 8)}@outside.example`;
  const options = { auth: { user, pass }, implicitTls: port === 'submissions', ca, serverName: place.hostname };
  await send(target, { from: user, to, subject: 'Hello', text: 'From inside.' }, options);
  const message = await waitFor(`the message for ${to} outside`, async () => (await received(outside, to))[0], 120_000);
  const { dkim, spf } = await authenticate(Buffer.from(message.raw, 'base64'), {
    ip: message.client.replace(/^::ffff:/, ''),
    helo: message.helo,
    sender: message.from,
    mta: 'mx.outside.example',
    resolver: resolverOf(outside) as never,
  });
  const [signature] = dkim.results;
  if (signature?.status.result !== 'pass')
    throw new Error(`port ${target.port}: DKIM is ${JSON.stringify(signature?.status)}`);
  const spfResult = spf === false ? 'none' : spf.status.result;
  return `port ${target.port}: DKIM ${signature.status.result} (d=${signature.signingDomain}), SPF ${spfResult}, TLS ${message.tls ? 'yes' : 'no'}`;
}

async function conclude({ imap, submissions, smtp }: Environment, raw: string, verdicts: string[]): Promise<void> {
  const table = await kubectlOk(['get', 'mail', '-n', place.namespace]);
  const indented = (text: string) => text.replaceAll('\r', '').trimEnd().replaceAll(/^/gm, '    ');
  console.log(`
The message, as Mallory's mail client has it:

${indented(raw)}

What the server outside found:

${indented(verdicts.join('\n'))}

$ kubectl get mail -n ${place.namespace}

${indented(table)}

Log in:

    IMAP        ${imap.host}, port ${imap.port}, TLS
    SMTP        ${submissions.host}, port ${submissions.port}, TLS
    user        ${user}
    password    ${pass}
    certificate of the system's own CA: kubectl get secret mail-ca -n ${place.namespace} -o jsonpath='{.data.tls\\.crt}' | base64 -d

    curl -k --user '${user}:${pass}' 'imaps://${imap.host}:${imap.port}/INBOX' -X 'FETCH 1 (BODY[HEADER.FIELDS (FROM SUBJECT)])'
    mail from outside goes to ${smtp.host}, port ${smtp.port}

    kubectl     export KUBECONFIG=$(./hack/cluster kubeconfig); ./hack/cluster kubectl get mail -A
    remove all  ./hack/cluster down`);
}

await main();
process.exit();
