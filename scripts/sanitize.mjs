// `npm run sanitize -- thread` runs the Rust tests under ThreadSanitizer, `-- address` the addon and its Node tests under
// AddressSanitizer, on Linux, with a compiler of any channel: the features that they need are not stable. `-- miri` runs the
// Rust tests of all unsafe code that needs no system call under Miri, which only nightly toolchains have.
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import binaryName from '../lib/binary-name.js';
import { compiler, hasSanitizer } from './cargo-tools.mjs';
import { findFiles } from './files.mjs';
import { capture, Problem, root } from './process.mjs';
import { addRustToPath } from './rust.mjs';
import { runSteps } from './steps.mjs';

const TARGET = `${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-unknown-linux-gnu`;
const MINUTES = 120;

/** Each builds and runs in a folder of its own, to which the runtime writes what it finds: a file for each process. */
const KINDS = { thread: testEngine, address: testAddon, miri: interpretEngine };
const [kind] = process.argv.slice(2);
const folder = join(root, 'target', 'sanitize', kind ?? '');
const report = join(folder, 'report');

const base = {
  RUSTC_BOOTSTRAP: '1',
  CARGO_TARGET_DIR: folder,
  CARGO_PROFILE_DEV_DEBUG: 'line-tables-only',
  // Not optimised at all it is so slow that clients are taken for dead.
  CARGO_PROFILE_DEV_OPT_LEVEL: '1',
};

try {
  if (!(kind in KINDS)) throw new Problem(`npm run sanitize -- ${Object.keys(KINDS).join(', or -- ')}`);
  addRustToPath();
  for (const file of written()) rmSync(file);
  await KINDS[kind]();
  written().forEach((file) => console.error(`\n${readFileSync(file, 'utf8')}`));
  console.log(`\n${written().length} reports`);
  if (written().length > 0) process.exitCode = 1;
} catch (error) {
  if (!(error instanceof Problem)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}

/** What was found: the runtime adds the number of the process to the name that it is given. */
function written() {
  if (!existsSync(folder)) return [];
  return readdirSync(folder).filter((name) => name.startsWith('report.')).map((name) => join(folder, name));
}

/** All tests of the engine, with several threads. */
async function testEngine() {
  const { env, flags, symbolizer } = await instrumentable();
  const cargo = ['cargo', 'test', '--locked', '-Zbuild-std', '--target', TARGET, '--no-default-features', '--no-fail-fast'];
  const suppressions = join(root, 'scripts', 'thread-sanitizer.txt');
  const settings = {
    ...base,
    ...env,
    RUSTFLAGS: flags.join(' '),
    TSAN_OPTIONS: [`suppressions=${suppressions}`, `log_path=${report}`, 'exitcode=66', ...symbolizer].join(':'),
    WEBSOCKET_RELAY_TEST_THREADS: '4',
    PROPTEST_CASES: '32',
    SIMULATION_QUICK_SEEDS: '100',
  };
  const steps = [
    { name: 'Rust tests', command: [...cargo, '--lib', '--tests'] },
    { name: 'Rust tests with faults', command: [...cargo, '--features', 'faults', '--test', 'commit', '--test', 'panics', '--test', 'simulation'] },
  ];
  await runSteps(steps.map((step) => ({ ...step, env: settings, minutes: MINUTES })));
}

/**
 * A compiler that has the source of its standard library: what that synchronises is seen only where it is built with the
 * sanitizer too. The runtime is its own, or where it has none that of the Clang with the same LLVM.
 */
async function instrumentable() {
  const { SANITIZE_RUST, PATH } = process.env;
  const places = SANITIZE_RUST ? [SANITIZE_RUST] : [(await capture('rustc', ['--print', 'sysroot'])).trim(), '/usr'];
  const place = places.find((path) => existsSync(join(path, 'lib/rustlib/src/rust/library/Cargo.lock')));
  if (!place) {
    const how = 'run "rustup component add rust-src", or see "Sanitizers" in CONTRIBUTING.md';
    throw new Problem(`There is no source of the standard library in ${places.join(' or ')}: ${how}.`);
  }
  const env = { PATH: join(place, 'bin') + delimiter + PATH };
  const { llvm, libraries } = await compiler([], env);
  console.log(`With the compiler and the standard library in ${place}.`);
  const flags = ['-Zsanitizer=thread'];
  if (hasSanitizer(libraries, 'tsan')) return { env, flags, symbolizer: [] };
  const clang = `clang-${llvm}`;
  flags.push('-Zexternal-clangrt', `-Clinker=${clang}`, '-Clink-arg=-fsanitize=thread');
  // What names the functions of a report, by which it is known which are suppressed.
  const symbolizer = (await capture(clang, ['--print-prog-name=llvm-symbolizer'])).trim();
  return { env, flags, symbolizer: [`external_symbolizer_path=${symbolizer}`] };
}

/** The unit tests of these modules hold or reach all `unsafe` of the engine, but for single system calls. */
const INTERPRETED = ['read_buffer', 'copy', 'protocol', 'model', 'backend', 'session', 'stream::bridge'];

/** Tests of unsafe code, and whole sessions over simulated sockets, under both of Miri's models of borrowing. */
async function interpretEngine() {
  const miri = await interpreter();
  const cargo = [...miri, 'test', '--locked', '--no-default-features'];
  const sessions = ['--features', 'faults', '--test', 'simulation', 'every_message'];
  const models = { 'Stacked Borrows': '', 'Tree Borrows': '-Zmiri-tree-borrows' };
  const steps = Object.entries(models).flatMap(([model, flag]) => {
    const env = {
      // Clocks and randomness are the system's.
      MIRIFLAGS: `-Zmiri-disable-isolation ${flag}`.trim(),
      CARGO_TARGET_DIR: folder,
      PROPTEST_CASES: '4',
      SIMULATION_QUICK_SEEDS: '2',
    };
    return [
      { name: `Unit tests, ${model}`, command: [...cargo, '--lib', '--', ...INTERPRETED], env, minutes: MINUTES },
      { name: `Sessions, ${model}`, command: [...cargo, ...sessions], env, minutes: MINUTES },
    ];
  });
  await runSteps(steps);
}

/** `cargo miri` of the toolchain that is in use, or of rustup's nightly one. */
async function interpreter() {
  const choices = [['cargo', 'miri'], ['cargo', '+nightly', 'miri']];
  for (const [program, ...args] of choices) {
    try {
      console.log((await capture(program, [...args, '--version'])).trim());
      return [program, ...args];
    } catch {
      // It is not there.
    }
  }
  throw new Problem('No toolchain here has Miri: run "rustup toolchain install nightly --component miri,rust-src".');
}

/** The Node tests with an addon of its own kind in place of the one that is there, which comes back. */
async function testAddon() {
  const flags = '-Zsanitizer=address -Zexternal-clangrt -Cunsafe-allow-abi-mismatch=sanitizer';
  const env = { ...process.env, ...base, RUSTFLAGS: flags };
  await capture('cargo', ['build', '--locked', '--features', 'system-allocator', '--target', TARGET], { env });
  const runtime = (await capture('gcc', ['-print-file-name=libasan.so'])).trim();
  const place = join(root, binaryName());
  const kept = join(mkdtempSync(join(tmpdir(), 'websocket-relay-')), 'addon.node');
  if (existsSync(place)) copyFileSync(place, kept);
  try {
    copyFileSync(join(folder, TARGET, 'debug', 'libwebsocket_relay.so'), place);
    // What V8 and Node keep until the end is no leak of ours: only errors count.
    const options = `detect_leaks=0:log_path=${report}:exitcode=67`;
    const node = [process.execPath, '--test', '--test-reporter=spec', '--test-timeout=600000'];
    const tests = ['server', 'attacks'].map((name) => ({
      name: `Node tests, ${name}`,
      command: [...node, ...findFiles(`__test__/${name}`, /\.test\.mjs$/)],
      env: { LD_PRELOAD: runtime, ASAN_OPTIONS: options },
      minutes: MINUTES,
    }));
    const client = { name: 'client', command: [process.execPath, 'scripts/compile.mjs'], minutes: MINUTES };
    await runSteps([client, ...tests]);
  } finally {
    if (existsSync(kept)) copyFileSync(kept, place);
    else rmSync(place);
  }
}
