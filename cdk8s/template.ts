import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** File name → text, per component and role folder: `templates.postfix.mx['main.cf']`. */
export type Templates = Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, string>>>>>>;

/** Placeholder name (without the `@`) → its value. */
export type TemplateValues = Readonly<Record<string, string>>;

const PLACEHOLDER = /@([A-Z][A-Z0-9_]*)@/g;

/** The only values that may span lines: whole directives, written by `values.ts`. */
const MULTI_LINE = new Set(['RESOLVER_CONFIG']);

/**
 * Folder that holds `COMPONENT/config/ROLE/FILE`: `$POSTHORN_IMAGES_DIR`, or the nearest `images` folder
 * above this module (which is right for the sources, for `dist/` and in the posthorn image).
 * @throws Error when there is none.
 */
export function imagesDir(env: NodeJS.ProcessEnv = process.env): string {
  if (env.POSTHORN_IMAGES_DIR) return env.POSTHORN_IMAGES_DIR;
  const start = dirname(fileURLToPath(import.meta.url));
  for (let dir = start; ; dir = dirname(dir)) {
    const candidate = join(dir, 'images');
    if (existsSync(join(candidate, 'postfix', 'config'))) return candidate;
    if (dirname(dir) === dir) break;
  }
  throw new Error(
    `no images/postfix/config above ${start}: set POSTHORN_IMAGES_DIR to the folder with the daemons' configuration`,
  );
}

/**
 * Reads every `COMPONENT/config/ROLE/FILE` below `root`. Folders within a role are refused:
 * a ConfigMap is flat.
 */
export function loadTemplates(root: string = imagesDir()): Templates {
  const components: Record<string, Record<string, Record<string, string>>> = {};
  for (const component of subfolders(root)) {
    const config = join(root, component, 'config');
    if (!existsSync(config)) continue;
    const roles: Record<string, Record<string, string>> = {};
    for (const role of subfolders(config)) roles[role] = readRole(join(config, role));
    components[component] = roles;
  }
  return components;
}

function subfolders(dir: string): string[] {
  return readdirSync(dir)
    .filter((name) => statSync(join(dir, name)).isDirectory())
    .sort();
}

function readRole(dir: string): Record<string, string> {
  const files: Record<string, string> = {};
  for (const name of readdirSync(dir).sort()) {
    if (statSync(join(dir, name)).isDirectory()) {
      throw new Error(`${join(dir, name)}: a folder can't become a ConfigMap key; keep ${dir} flat`);
    }
    files[name] = readFileSync(join(dir, name), 'utf8');
  }
  return files;
}

/** Names of the placeholders in a template, sorted, each once. */
export function placeholders(text: string): string[] {
  return [...new Set([...text.matchAll(PLACEHOLDER)].map((match) => match[1] as string))].sort();
}

/**
 * Replaces every `@NAME@` in one pass: a value that looks like a placeholder stays as it is.
 * @param file named in errors.
 * @throws Error naming the file and the placeholder when it has no value, or when its value holds a
 * control character (a line break would smuggle a directive into the file).
 */
export function render(text: string, values: TemplateValues, file: string): string {
  return text.replace(PLACEHOLDER, (_, name: string) => {
    const value = Object.hasOwn(values, name) ? values[name] : undefined;
    if (value === undefined) throw new Error(`${file}: no value for placeholder @${name}@`);
    if (!MULTI_LINE.has(name) && /\p{Cc}/u.test(value)) {
      throw new Error(`${file}: the value of @${name}@ holds a control character`);
    }
    return value;
  });
}

/**
 * The files of a role, rendered: those of the component's `common` folder and the role's own, which win.
 * @throws Error when the component has no such role, or as `render` does.
 */
export function renderRole(
  templates: Templates,
  component: string,
  role: string,
  values: TemplateValues,
): Record<string, string> {
  const roles = templates[component];
  const own = roles?.[role];
  if (!own) throw new Error(`images/${component}/config/${role}: no such folder of templates`);
  const sources = Object.entries(roles.common ?? {}).map(([file, text]) => ['common', file, text]);
  sources.push(...Object.entries(own).map(([file, text]) => [role, file, text]));
  const rendered: Record<string, string> = {};
  for (const [folder, file, text] of sources as [string, string, string][]) {
    rendered[file] = render(text, values, `images/${component}/config/${folder}/${file}`);
  }
  return rendered;
}
