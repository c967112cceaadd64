/**
 * Ways to forge the author of a message that alice@example.org submits; victim@example.org is somebody else, example.net
 * is ours too, gmail.example is not. Used by the unit tests, and over the wire by the end-to-end tests.
 */

/** An encoded word (RFC 2047, B). */
export const encoded = (text: string, charset = 'utf-8') => `=?${charset}?B?${Buffer.from(text).toString('base64')}?=`;
/** A header with this From. */
export const from = (body: string) =>
  `Subject: x\r\nFrom:${body.startsWith('\r') ? '' : ' '}${body}\r\nTo: x@gmail.example\r\n`;
export const GOOD = 'From: Alice <alice@example.org>\r\n';

/** docs/reference/refusals.md lists the same by name: a test below compares. */
export const FORGERIES: Record<string, readonly [raw: string, kind: string]> = {
  "another person's address": [from('victim@example.org'), 'not-yours'],
  "another person's address with one's own name": [from('Alice <victim@example.org>'), 'not-yours'],
  'an address of a domain that is not ours': [from('Alice <alice@gmail.example>'), 'not-yours'],
  "one's own name in a subdomain": [from('alice@mail.example.org'), 'not-yours'],
  'no From at all': ['Subject: x\r\nTo: x@gmail.example\r\n', 'no-from'],
  'an empty From': [from(''), 'empty'],
  'an empty address': [from('Alice <>'), 'empty'],
  'two From fields': [`${GOOD}From: victim@example.org\r\n`, 'repeated'],
  'two From fields, the same twice': [GOOD + GOOD, 'repeated'],
  'two From fields in different case': [`${GOOD}fRoM: victim@example.org\r\n`, 'repeated'],
  'two addresses in From': [from('alice@example.org, victim@example.org'), 'several'],
  'an empty element beside the address': [from('alice@example.org,'), 'several'],
  'a second address after the first': [from('<alice@example.org> <victim@example.org>'), 'several'],
  'an address inside the brackets of another': [from('<victim@example.org<alice@example.org>>'), 'several'],
  'text after the address': [from('<alice@example.org> victim'), 'after-address'],
  'a group': [from('Board: victim@example.org, alice@example.org;'), 'group'],
  'an empty group': [from('Board:;'), 'group'],
  'a comment that holds an address': [from('alice@example.org (victim@example.org)'), 'comment'],
  'a comment inside the address': [from('alice(@example.org> )@example.org'), 'comment'],
  'a nested comment': [from('(a (victim@example.org) b) <alice@example.org>'), 'comment'],
  'a source route': [from('<@example.org:victim@example.org>'), 'group'],
  'an address without quotes as name': [from('victim@example.org <alice@example.org>'), 'address-as-name'],
  "another's address, quoted, as name": [from('"victim@example.org" <alice@example.org>'), 'name-shows-other'],
  "another's address in the name, in another domain of ours": [
    from('"Board board@example.net" <alice@example.org>'),
    'name-shows-other',
  ],
  "another's address hidden in an encoded name": [
    from(`${encoded('victim@example.org')} <alice@example.org>`),
    'name-shows-other',
  ],
  "another's address in an encoded name that is in quotes": [
    from(`"${encoded('<victim@example.org>')}" <alice@example.org>`),
    'name-shows-other',
  ],
  "another's address, split over two encoded words": [
    from(`${encoded('victim@exam')} ${encoded('ple.org')} <alice@example.org>`),
    'name-shows-other',
  ],
  "another's address in fullwidth letters": [
    from(`${encoded('ｖｉｃｔｉｍ＠ｅｘａｍｐｌｅ．ｏｒｇ')} <alice@example.org>`),
    'name-shows-other',
  ],
  "another's address with invisible characters in it": [
    from(`${encoded('vic\u200btim\u2060@\u00adexample.org')} <alice@example.org>`),
    'name-shows-other',
  ],
  "another's address with spaces around the @": [
    from('"victim @ example.org" <alice@example.org>'),
    'name-shows-other',
  ],
  'a line break in an encoded name': [
    from(`${encoded('Alice\r\nFrom: victim@example.org')} <alice@example.org>`),
    'hidden-characters',
  ],
  'an override of direction in an encoded name': [
    from(`${encoded('\u202egro.elpmaxe\u202c')} <alice@example.org>`),
    'hidden-characters',
  ],
  'an encoded name in UTF-7': [from('=?utf-7?Q?+AHYAaQBj-?= <alice@example.org>'), 'encoded-word'],
  'an encoded name of an unknown charset': [from('=?x-victim?Q?a?= <alice@example.org>'), 'encoded-word'],
  'an encoded name that is no text in its charset': [from('=?utf-8?Q?=FF=FE?= <alice@example.org>'), 'encoded-word'],
  'a name that is encoded twice': [
    from(`${encoded(encoded('victim@example.org'))} <alice@example.org>`),
    'encoded-word',
  ],
  'text that touches an encoded word': [
    from(`${encoded('victim@example.org')}Alice <alice@example.org>`),
    'encoded-word',
  ],
  "another's address in the name, before an underscore": [
    from('"victim@example.org_" <alice@example.org>'),
    'name-shows-other',
  ],
  'an encoded word that does not end': [from('=?utf-8?Q?victim=40example.org <alice@example.org>'), 'encoded-word'],
  'an encoded address': [from('=?utf-8?Q?victim=40example.org?='), 'no-domain'],
  'an encoded local part': [from('=?utf-8?Q?victim?=@example.org'), 'encoded-address'],
  'a quoted local part': [from('"victim"@example.org'), 'quoted-local-part'],
  'white space inside the address': [from('<victim @example.org>'), 'space-in-address'],
  'an address folded over two lines': [from('<victim@\r\n example.org>'), 'space-in-address'],
  'a space before the colon': [`From : victim@example.org\r\n${GOOD}`, 'space-before-colon'],
  'a tab before the colon': [`From\t: victim@example.org\r\n${GOOD}`, 'space-before-colon'],
  'a field folded before its colon': [`From\r\n : victim@example.org\r\n${GOOD}`, 'not-a-field'],
  'an envelope line of a mailbox file': [`From victim@example.org Mon Jan 1\r\n${GOOD}`, 'not-a-field'],
  'a field name with a character outside ASCII': [`From\u200b: victim@example.org\r\n${GOOD}`, 'not-a-field'],
  'a header that begins with a folded line': [` From: victim@example.org\r\n${GOOD}`, 'fold-first'],
  'a From that is folded onto an empty line': [from('\r\n \r\n victim@example.org'), 'blank-fold'],
  'an empty line before a second From': [`${GOOD}\r\nFrom: victim@example.org\r\n`, 'empty-line'],
  'a NUL character': [from('alice@example.org\0, victim@example.org'), 'nul'],
  'a bare carriage return before a second From': [`Subject: x\rFrom: victim@example.org\r\n${GOOD}`, 'bare-cr'],
  'a bare carriage return inside From': [from('victim@example.org\r <alice@example.org>'), 'bare-cr'],
  'a control character in From': [from('victim@example.org\x08 <alice@example.org>'), 'control'],
  'characters outside ASCII in From': [from('Ålice <alice@example.org>'), 'non-ascii'],
  'a Cyrillic letter in the address': [from('<alicе@example.org>'), 'non-ascii'],
  'an internationalised domain that looks like ours': [from('alice@xn--exmple-cua.org'), 'not-yours'],
  'a dot at the end of the local part': [from('alice.@example.org'), 'dots'],
  'two dots in the local part': [from('alice..b@example.org'), 'dots'],
  'a dot at the end of the domain': [from('alice@example.org.'), 'domain'],
  'an address literal': [from('victim@[192.0.2.1]'), 'domain-literal'],
  'an address without a domain': [from('Alice <victim>'), 'no-domain'],
  'two @ in the address': [from('<victim@example.org@example.org>'), 'several'],
  'a quote that is not closed': [from('"Alice <alice@example.org>'), 'open-quote'],
  'a quote that is closed by an escaped quote': [from('"Alice\\" <victim@example.org>'), 'open-quote'],
  'a backslash outside quotes': [from('victim\\@example.org <alice@example.org>'), 'backslash'],
  'a bracket that is not opened': [from('alice@example.org>'), 'syntax'],
  "another person's Sender": [`${GOOD}Sender: victim@example.org\r\n`, 'not-yours'],
  'two Sender fields': [`${GOOD}Sender: alice@example.org\r\nSender: victim@example.org\r\n`, 'repeated'],
  'two addresses in Sender': [`${GOOD}Sender: alice@example.org, victim@example.org\r\n`, 'several'],
  "another's address in the name of Sender": [
    `${GOOD}Sender: "victim@example.org" <alice@example.org>\r\n`,
    'name-shows-other',
  ],
  "another person's Resent-From": [`${GOOD}Resent-From: victim@example.org\r\n`, 'not-yours'],
  "another person's Resent-From after one's own": [
    `Resent-From: alice@example.org\r\nResent-From: victim@example.org\r\n${GOOD}`,
    'not-yours',
  ],
  "another person's Resent-Sender": [`${GOOD}Resent-Sender: victim@example.org\r\n`, 'not-yours'],
  'two addresses in Resent-From': [`${GOOD}Resent-From: alice@example.org, victim@example.org\r\n`, 'several'],
  'resending what another person wrote': [
    'Resent-From: alice@example.org\r\nFrom: victim@example.org\r\n',
    'not-yours',
  ],
  'more addresses in the name than a name needs': [
    from('"a@a.example b@b.example c@c.example d@d.example e@e.example" <alice@example.org>'),
    'addresses-in-name',
  ],
  'a name that is far too long': [from(`"${'x'.repeat(3000)}" <alice@example.org>`), 'long-field'],
  'a header that is far too long': [`X: ${'x'.repeat(300_000)}\r\n${GOOD}`, 'too-long'],
};
