import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { docProblems } from '../../scripts/docs.mjs';
import { isOlder } from '../../scripts/fresh.mjs';
import { nodeProblem } from '../../scripts/node-version.mjs';
import { rustProblem } from '../../scripts/rust.mjs';
import { countTests } from '../../scripts/steps.mjs';

test('names the required version of Node to an old one', () => {
  assert.equal(
    nodeProblem('v18.20.8'),
    'websocket-relay needs Node 20 or newer, and this is Node v18.20.8: get one from https://nodejs.org/.',
  );
  for (const version of ['v20.0.0', 'v26.1.0', 'v100.0.0']) assert.equal(nodeProblem(version), null);
});

test('names the required version of Rust if it is missing or old', () => {
  assert.match(rustProblem(null, '1.88'), /^websocket-relay needs Rust 1\.88 or newer, but cargo or rustc was not found: .*rustup/);
  assert.match(rustProblem('rustc 1.63.0 (4b91a6ea7 2022-08-08)', '1.88'), /needs Rust 1\.88 or newer, and this is Rust 1\.63\.0: /);
  for (const version of ['1.88.0', '1.95.0', '1.100.0', '2.0.0']) assert.equal(rustProblem(`rustc ${version} (abc 2026-01-01)`, '1.88'), null);
});

test('rebuilds when a source is newer or deleted, or the output is missing', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'fresh-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = (name) => join(folder, name);
  const date = (name, time) => utimesSync(path(name), time, time);
  mkdirSync(path('src/inner'), { recursive: true });
  writeFileSync(path('src/inner/a.rs'), '');
  writeFileSync(path('src/inner/b.rs'), '');
  for (const name of ['src/inner/a.rs', 'src/inner/b.rs', 'src/inner', 'src']) date(name, 100);
  const older = () => isOlder(path('made'), [path('src'), path('absent')]);

  assert.equal(older(), true);
  writeFileSync(path('made'), '');
  date('made', 200);
  assert.equal(older(), false);
  date('src/inner/a.rs', 300);
  assert.equal(older(), true);
  date('made', 400);
  assert.equal(older(), false);
  rmSync(path('src/inner/b.rs'));
  assert.equal(older(), true);
});

test('adds up the tests of cargo and node:test', () => {
  assert.deepEqual(
    countTests('test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured\ntest result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured\n'),
    { passed: 15, failed: 2, skipped: 1 },
  );
  assert.deepEqual(countTests('\x1b[34mℹ pass 7\x1b[39m\nℹ fail 1\nℹ skipped 2\nℹ todo 0\n'), { passed: 7, failed: 1, skipped: 2 });
});

test('rejects documents that name missing scripts or files', () => {
  const text = 'Run `npm test` or `npm run nothing`, see [the map](../map.md), [that](gone.md) and [the site](https://example.org/x.md).';
  assert.deepEqual(docProblems('docs/a.md', text, { test: '' }, (path) => path === 'map.md'), [
    'docs/a.md: `npm run nothing` is no script of package.json.',
    'docs/a.md: the link to gone.md leads nowhere.',
  ]);
});
