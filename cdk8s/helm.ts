import { Document, isMap, isSeq } from 'yaml';

/** A text that stands for a Helm expression until the YAML is written. */
export type Token = string;

/**
 * Helm expressions inside objects. YAML can't hold `{{ … }}` unquoted, so objects carry tokens, and
 * `write` puts the expressions in their place afterwards, indented as the line is.
 */
export interface HelmWriter {
  /** `key: {{ expression }}`; the expression quotes itself where the value is a string. */
  value(expression: string): Token;
  /** `key:` followed by the expression's YAML, for values that are maps or lists. */
  block(expression: string): Token;
  /** Like `block`, but without the key when the value is empty. */
  optional(path: string): Token;
  /** The object as a chart template; `comments` go above the items of lists, by path. */
  write(object: object, comments?: Comments): string;
}

/** Path of a list (`rules`) → a comment for each of its items. */
export type Comments = Readonly<Record<string, readonly string[]>>;

type Expression = { readonly kind: 'value' | 'block' | 'optional'; readonly text: string };

/** Starts a chart: tokens are numbered, so that the same chart is always written alike. */
export function helmWriter(): HelmWriter {
  const expressions: Expression[] = [];
  const add = (kind: Expression['kind'], text: string): Token => `HELM-${expressions.push({ kind, text }) - 1}-TOKEN`;
  return {
    value: (text) => add('value', text),
    block: (text) => add('block', text),
    optional: (text) => add('optional', text),
    write: (object, comments) =>
      yamlText(object, comments)
        .split('\n')
        .map((line) => expandLine(escapeBraces(line), expressions))
        .join('\n'),
  };
}

/** YAML of an object, long strings unfolded, with comments above list items. */
export function yamlText(object: object, comments: Comments = {}): string {
  const document = new Document(object, { aliasDuplicateObjects: false });
  for (const [path, texts] of Object.entries(comments)) {
    const list = document.getIn(path.split('.'));
    if (!isSeq(list)) throw new Error(`there is no list at ${path} to comment on`);
    for (const [i, text] of texts.entries()) {
      const item = list.items[i];
      if (isMap(item)) item.commentBefore = ` ${text}`;
    }
  }
  return document.toString({ lineWidth: 0 });
}

/** Text that reaches the chart's user as it is, even if it looks like a Helm expression. */
export function escapeBraces(text: string): string {
  return text.replaceAll('{{', '{{ "{{" }}');
}

const LINE = /^(\s*)(- )?([^\s:]+): HELM-(\d+)-TOKEN$/;

function expandLine(line: string, expressions: readonly Expression[]): string {
  const match = LINE.exec(line);
  const expression = match ? expressions[Number(match[4])] : undefined;
  if (!match || !expression || expression.kind === 'value') return expandValues(line, expressions);
  const indent = ' '.repeat((match[1] ?? '').length + (match[2] ?? '').length);
  const lead = `${match[1]}${match[2] ?? ''}`;
  const depth = indent.length + 2;
  if (expression.kind === 'block') {
    return `${lead}${match[3]}:\n${indent}  {{- ${expression.text} | nindent ${depth} }}`;
  }
  return [
    `${lead}{{- with ${expression.text} }}`,
    `${indent}${match[3]}:`,
    `${indent}  {{- toYaml . | nindent ${depth} }}`,
    `${indent}{{- end }}`,
  ].join('\n');
}

function expandValues(line: string, expressions: readonly Expression[]): string {
  return line.replace(/HELM-(\d+)-TOKEN/g, (_, index: string) => {
    const expression = expressions[Number(index)];
    if (expression?.kind !== 'value') throw new Error(`a block can't stand inside a line: ${line.trim()}`);
    return `{{ ${expression.text} }}`;
  });
}
