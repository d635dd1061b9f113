// The docs name everything that a user can meet: each error code, each limit, each option, method and event.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { findFiles } from '../../scripts/files.mjs';
import { root } from '../../scripts/process.mjs';

const read = (path) => readFileSync(join(root, path), 'utf8');

test('troubleshooting has every code of an error or a warning', () => {
  const sources = ['index.js', 'native.js', ...findFiles('lib', /\.js$/), ...findFiles('client', /\.ts$/), ...findFiles('src', /\.rs$/)];
  // What tests inside of sources make up is no code.
  const text = sources.map((path) => read(path).replace(/\n#\[cfg\(test\)\]\nmod tests \{[^]*$/, '')).join('\n');
  const codes = new Set(text.match(/\b(?:ERR|WEBSOCKET_RELAY)_[A-Z_0-9]*[A-Z0-9]\b/g));
  for (const internal of ['WEBSOCKET_RELAY_TEST_THREADS']) codes.delete(internal);
  assert.ok(codes.size > 30);
  const page = read('docs/troubleshooting.md');
  const missing = [...codes].filter((code) => !page.includes(`\`${code}\``));
  assert.deepEqual(missing, []);
});

test('protocol has every close code and every offence', () => {
  const errors = read('src/error.rs');
  const page = read('docs/protocol.md');
  const codes = Array.from(errors.matchAll(/=> (\d{4}),/g), ([, code]) => code).filter((code) => code !== '1006');
  const offences = Array.from(errors.slice(errors.indexOf('impl Offence')).matchAll(/"(ERR_[A-Z0-9_]+)"/g), ([, code]) => code);
  assert.ok(codes.length > 15 && offences.length > 10);
  for (const code of codes) assert.match(page, new RegExp(`^\\| ${code} \\|`, 'm'));
  for (const code of offences) assert.match(page, new RegExp(`^\\| \`${code}\` \\|`, 'm'));
});

/** Members of a class or interface in a declaration file. */
function members(text, name) {
  const [, body] = new RegExp(`(?:class|interface) ${name}\\b[^{]*\\{([^]*?)\\n(?: {2})?\\}`).exec(text);
  return new Set(Array.from(body.matchAll(/^ {2}(?: {2})?(?:readonly |get )?([a-z]\w*)\??[(:<]/gm), ([, member]) => member));
}

for (const [page, file, names] of [
  ['docs/server-api.md', 'index.d.ts', ['RelayServer', 'Events', 'PortOptions', 'SecureContext', 'CloseOptions', 'RegisterOptions', 'Client']],
  ['docs/client-api.md', 'dist/types', ['WebSocketRelay', 'RelayEvents', 'OpenInfo', 'CloseInfo', 'RelayChannel', 'ChannelEvents', 'RelayOptions', 'Authentication', 'Emitter']],
  ['docs/http-and-metrics.md', 'index.d.ts', ['Stats']],
  ['docs/authentication.md', 'index.d.ts', ['ClientInfo', 'ClientRequest']],
]) {
  test(`${page} names what ${file} declares: ${names.join(', ')}`, () => {
    const text = read(page);
    const declarations = file.endsWith('.ts') ? read(file) : readdirSync(join(root, file)).map((name) => read(join(file, name))).join('\n');
    // The limits stand on a page of their own, which options.test.mjs compares with the engine.
    const limits = read('docs/limits.md');
    const found = names.flatMap((name) => [...members(declarations, name)]).filter((member) => member !== 'constructor');
    assert.ok(found.length > 1);
    assert.deepEqual(found.filter((member) => !new RegExp(`\\b${member}\\b`).test(text) && !limits.includes(`\`${member}\``)), []);
  });
}

test('README and the index link to each page, and each page links back and to others', () => {
  const linksOf = (text) => new Set(Array.from(text.matchAll(/\]\(([\w./-]+\.md)(?:#[^)]*)?\)/g), ([, target]) => target));
  const pages = findFiles('docs', /\.md$/).map((path) => path.slice('docs/'.length)).filter((name) => name !== 'README.md');
  const [readme, index] = [linksOf(read('README.md')), linksOf(read('docs/README.md'))];
  assert.deepEqual(pages.filter((name) => !readme.has(`docs/${name}`)), [], 'README');
  assert.deepEqual(pages.filter((name) => !index.has(name)), [], 'docs/README');
  for (const name of pages) {
    const links = linksOf(read(`docs/${name}`));
    assert.ok(links.has('../README.md') && links.has('README.md'), `${name} links to README and the index`);
    assert.ok([...links].filter((other) => other !== name && pages.includes(other)).length > 1, `${name} links to related pages`);
  }
});
