// The one list of all that `npm run lint` and `npm test` run.
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { findFiles } from './files.mjs';
import { root } from './process.mjs';

const node = process.execPath;

function clippy(name, ...choice) {
  return { name, command: ['cargo', 'clippy', '--locked', ...choice, '--', '-D', 'warnings'] };
}

/** Two files of tests at one time, also on two cores, where Node would run one: they wait more than they work. */
function concurrency() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  return major > 20 || minor >= 10 ? ['--test-concurrency=2'] : [];
}

function nodeTests(name, files, ...options) {
  // Paths, one by one: what a folder or a pattern means to `node --test` differs between Node 20, 22 and 24.
  // A message that never comes must not keep the rest waiting for ever.
  return { name, command: [node, '--test', '--test-reporter=spec', '--test-timeout=300000', ...options, ...files] };
}

/** What is checked without running the code. */
export const lints = [
  { name: 'Layers', command: [node, 'scripts/layers.mjs'] },
  { name: 'Import cycles', command: [node, 'scripts/cycles.mjs'] },
  { name: 'Docs', command: [node, 'scripts/docs.mjs'] },
  { name: 'ESLint', command: [node, 'node_modules/eslint/bin/eslint.js', '.'] },
  ...findFiles('', /(^|\/)tsconfig[^/]*\.json$/).map((project) => ({
    name: `TypeScript, ${project}`,
    command: [node, 'node_modules/typescript/bin/tsc', '--noEmit', '--project', project],
  })),
  { name: 'rustfmt', command: ['cargo', 'fmt', '--check'] },
  clippy('Clippy', '--all-targets'),
  // Everything that a feature adds, and nothing of Node.
  clippy('Clippy, engine with faults and shuttle', '--all-targets', '--no-default-features', '--features', 'faults,shuttle'),
  // The engine with neither: code that only a feature or Node uses is dead here.
  clippy('Clippy, conformance', '--lib', '--examples', '--no-default-features', '--features', 'conformance'),
];

const testFiles = findFiles('__test__', /\.test\.[cm]?js$/);
const isBrowserTest = (path) => path.startsWith('__test__/browser/');

const rustTests = ['cargo', 'test', '--locked', '--no-default-features', '--no-fail-fast'];

/** Tests of a relay with as many threads as the environment says. All others would only do the same again. */
const relayTests = findFiles('tests', /^tests\/\w+\.rs$/)
  .filter((path) => /^mod common;$/m.test(readFileSync(join(root, path), 'utf8')))
  .filter((path) => !/\/(panics|threads)\.rs$/.test(path))
  .flatMap((path) => ['--test', basename(path, '.rs')]);

export const tests = [
  { name: 'Rust tests', command: rustTests },
  { name: 'Rust tests with faults', command: [...rustTests, '--features', 'faults', '--test', 'panics', '--test', 'simulation'] },
  { name: 'Rust tests with shuttle', command: [...rustTests, '--features', 'faults,shuttle', '--test', 'interleavings'] },
  { name: 'Rust tests, four threads', command: [...rustTests, ...relayTests], env: { WEBSOCKET_RELAY_TEST_THREADS: '4' } },
  nodeTests('Node tests', testFiles.filter((path) => !isBrowserTest(path)), ...concurrency()),
  nodeTests('Browser tests', testFiles.filter(isBrowserTest)),
];
