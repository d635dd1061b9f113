// The steps of `npm run lint` and `npm test`.
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { findFiles } from './files.mjs';
import { root } from './process.mjs';

const node = process.execPath;

function clippy(name, ...choice) {
  return { name, command: ['cargo', 'clippy', '--locked', ...choice, '--', '-D', 'warnings'] };
}

/** Runs two test files at a time, even on two cores, where Node would run one: tests mostly wait. */
function concurrency() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  return major > 20 || minor >= 10 ? ['--test-concurrency=2'] : [];
}

function nodeTests(name, files, ...options) {
  // Explicit paths, because Node 20, 22 and 24 treat folders and patterns differently. A timeout, because a test may wait for
  // a message that never comes.
  return { name, command: [node, '--test', '--test-reporter=spec', '--test-timeout=300000', ...options, ...files] };
}

/** Checks that do not run the code. */
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
  // With the code that the features add, without the binding.
  clippy('Clippy, engine with faults and shuttle', '--all-targets', '--no-default-features', '--features', 'faults,shuttle'),
  // Without either: finds code that only a feature or the binding uses.
  clippy('Clippy, conformance', '--lib', '--examples', '--no-default-features', '--features', 'conformance'),
];

const testFiles = findFiles('__test__', /\.test\.[cm]?js$/);
const isBrowserTest = (path) => path.startsWith('__test__/browser/');

const rustTests = ['cargo', 'test', '--locked', '--no-default-features', '--no-fail-fast'];

/** The Rust tests that start a relay, whose number of threads the environment sets. */
const relayTests = findFiles('tests', /^tests\/\w+\.rs$/)
  .filter((path) => /^mod common;$/m.test(readFileSync(join(root, path), 'utf8')))
  .filter((path) => !/\/(panics|threads)\.rs$/.test(path))
  .flatMap((path) => ['--test', basename(path, '.rs')]);

/** The arguments that run the Rust tests which need the feature `faults` alone, as the manifest says. */
export const faultTests = [
  '--features',
  'faults',
  ...[...readFileSync(join(root, 'Cargo.toml'), 'utf8').matchAll(/^\[\[test\]\]\nname = "(\w+)"\n(?:path = .*\n)?required-features = \["faults"\]$/gm)].flatMap(
    ([, name]) => ['--test', name],
  ),
];

export const tests = [
  { name: 'Rust tests', command: rustTests },
  { name: 'Rust tests with faults', command: [...rustTests, ...faultTests] },
  { name: 'Rust tests with shuttle', command: [...rustTests, '--features', 'faults,shuttle', '--test', 'interleavings'] },
  { name: 'Rust tests, four threads', command: [...rustTests, ...relayTests], env: { WEBSOCKET_RELAY_TEST_THREADS: '4' } },
  nodeTests('Node tests', testFiles.filter((path) => !isBrowserTest(path)), ...concurrency()),
  nodeTests('Browser tests', testFiles.filter(isBrowserTest)),
];
