import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { imagesDir, loadTemplates, placeholders, render, renderRole } from './template.js';

const NAME = fc.stringMatching(/^[A-Z][A-Z0-9_]{0,15}$/);
const PLAIN = fc.string({ maxLength: 20 }).filter((s) => !s.includes('@'));
const VALUE = fc.string({ maxLength: 20 }).map((s) => s.replace(/\p{Cc}/gu, '?'));

describe('render', () => {
  it('puts every value in its place and leaves the rest alone', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(PLAIN, NAME, VALUE), { maxLength: 8 }), PLAIN, (parts, end) => {
        const values = Object.fromEntries(parts.map(([, name, value]) => [name, value]));
        const text = `${parts.map(([plain, name]) => `${plain}@${name}@`).join('')}${end}`;
        const expected = `${parts.map(([plain, name]) => plain + values[name]).join('')}${end}`;
        expect(render(text, values, 'f')).toBe(expected);
      }),
    );
  });

  it('names the file and the placeholder that has no value', () => {
    fc.assert(
      fc.property(PLAIN, NAME, PLAIN, (before, name, after) => {
        const text = `${before}@${name}@${after}`;
        expect(() => render(text, {}, 'images/postfix/config/mx/main.cf')).toThrow(
          `images/postfix/config/mx/main.cf: no value for placeholder @${name}@`,
        );
      }),
    );
  });

  it('does not expand a value that looks like a placeholder', () => {
    expect(render('a=@A@', { A: '@B@', B: 'no' }, 'f')).toBe('a=@B@');
  });

  it('does not take names from the prototype', () => {
    expect(() => render('@CONSTRUCTOR@', {}, 'f')).toThrow('@CONSTRUCTOR@');
    expect(placeholders('user@example.org and me@x@y')).toEqual([]);
  });

  it('refuses a line break in a value, except where whole directives are meant', () => {
    expect(() => render('h=@HOSTNAME@', { HOSTNAME: 'a\nb = c' }, 'main.cf')).toThrow(
      'main.cf: the value of @HOSTNAME@ holds a control character',
    );
    expect(render('@RESOLVER_CONFIG@', { RESOLVER_CONFIG: 'a\nb' }, 'f')).toBe('a\nb');
  });
});

describe('loadTemplates', () => {
  const dirs: string[] = [];
  afterEach(() => {
    for (const dir of dirs.splice(0)) rmSync(dir, { recursive: true });
  });

  function folder(files: Record<string, string>): string {
    const root = mkdtempSync(join(tmpdir(), 'posthorn-templates-'));
    dirs.push(root);
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(join(root, path, '..'), { recursive: true });
      writeFileSync(join(root, path), text);
    }
    return root;
  }

  it('lays a role over the common folder of its component', () => {
    const root = folder({
      'postfix/config/common/main.cf': 'common',
      'postfix/config/common/master.cf': 'port @PORT@',
      'postfix/config/mx/main.cf': 'mx',
      'base/Containerfile': 'no config here',
    });
    expect(renderRole(loadTemplates(root), 'postfix', 'mx', { PORT: '25' })).toEqual({
      'main.cf': 'mx',
      'master.cf': 'port 25',
    });
  });

  it('says which role is missing', () => {
    const root = folder({ 'postfix/config/mx/main.cf': '' });
    expect(() => renderRole(loadTemplates(root), 'postfix', 'egress', {})).toThrow(
      'images/postfix/config/egress: no such folder',
    );
  });

  it('refuses a folder where only files fit', () => {
    const root = folder({ 'postfix/config/mx/maps/x.cf': '' });
    expect(() => loadTemplates(root)).toThrow('keep');
  });

  it('obeys POSTHORN_IMAGES_DIR', () => {
    expect(imagesDir({ POSTHORN_IMAGES_DIR: '/somewhere' })).toBe('/somewhere');
  });
});
