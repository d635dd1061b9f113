// The glossary of CONTRIBUTING names types that exist.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { findFiles } from '../../scripts/files.mjs';
import { root } from '../../scripts/process.mjs';

const read = (path) => readFileSync(join(root, path), 'utf8');
const [, table] = /## Glossary\n([^]*?)\n## /.exec(read('CONTRIBUTING.md'));
const terms = Array.from(table.matchAll(/^\| ([^|]+) \| [^|]+ \| `([\w:]+)` \|$/gm), ([, term, type]) => ({ term, type }));

/** Whether the files of a module, or those that hold a type, define a name: an item, a field or a variant. */
function isDefined(path) {
  const [owner, name] = path.split('::').slice(-2);
  const files = findFiles('src', /\.rs$/).map((file) => ({ file, text: read(file) }));
  const ofOwner = files.filter(({ file, text }) => file.split(/[/.]/).includes(owner) || new RegExp(`\\b(struct|enum) ${owner}\\b`).test(text) || new RegExp(`\\bimpl(<[^>]*>)? ${owner}\\b`).test(text));
  return ofOwner.some(({ file, text }) => new RegExp(`\\b(struct|enum|trait|fn|mod|type) ${name}\\b|^\\s+(pub )?${name}\\b\\s*[:{(,]`, 'm').test(text) || file.endsWith(`${owner}/${name}.rs`));
}

test('the glossary has at most 25 terms, and the types that it names exist', () => {
  assert.ok(terms.length > 20 && terms.length <= 25, `${terms.length} terms`);
  assert.deepEqual(terms.filter(({ type }) => !isDefined(type)), []);
});
