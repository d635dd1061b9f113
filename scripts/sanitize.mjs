// `npm run sanitize -- thread` runs the Rust tests under ThreadSanitizer, `-- address` the Node tests with the addon under
// AddressSanitizer. Both need Linux, and enable unstable features of any compiler. `-- miri` runs the Rust tests of unsafe code
// without system calls under Miri, which needs a nightly toolchain.
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import binaryName from '../lib/binary-name.js';
import { compiler, hasSanitizer } from './cargo-tools.mjs';
import { faultTests } from './checks.mjs';
import { findFiles } from './files.mjs';
import { capture, Problem, root } from './process.mjs';
import { addRustToPath } from './rust.mjs';
import { runSteps } from './steps.mjs';

const TARGET = `${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-unknown-linux-gnu`;
const MINUTES = 120;

/** Each kind builds in a folder of its own, where the runtime writes a report file for each process. */
const KINDS = { thread: testEngine, address: testAddon, miri: interpretEngine };
const [kind] = process.argv.slice(2);
const folder = join(root, 'target', 'sanitize', kind ?? '');
const report = join(folder, 'report');

const base = {
  RUSTC_BOOTSTRAP: '1',
  CARGO_TARGET_DIR: folder,
  CARGO_PROFILE_DEV_DEBUG: 'line-tables-only',
  // Unoptimized code is so slow that clients time out.
  CARGO_PROFILE_DEV_OPT_LEVEL: '1',
};

try {
  if (!(kind in KINDS)) throw new Problem(`npm run sanitize -- ${Object.keys(KINDS).join(', or -- ')}`);
  addRustToPath();
  for (const file of reports()) rmSync(file);
  await KINDS[kind]();
  reports().forEach((file) => console.error(`\n${readFileSync(file, 'utf8')}`));
  console.log(`\n${reports().length} reports`);
  if (reports().length > 0) process.exitCode = 1;
} catch (error) {
  if (!(error instanceof Problem)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}

/** Returns the paths of the reports. The runtime appends the process id to the name. */
function reports() {
  if (!existsSync(folder)) return [];
  return readdirSync(folder).filter((name) => name.startsWith('report.')).map((name) => join(folder, name));
}

/** Runs all Rust tests with several threads. */
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
    { name: 'Rust tests with faults', command: [...cargo, ...faultTests] },
  ];
  await runSteps(steps.map((step) => ({ ...step, env: settings, minutes: MINUTES })));
}

/**
 * Returns the settings of a compiler that has the source of the standard library, which must be built with the sanitizer
 * too, or its synchronization is not seen. Without a sanitizer runtime of its own it uses that of Clang with the same LLVM.
 */
async function instrumentable() {
  const { SANITIZE_RUST, PATH } = process.env;
  const places = SANITIZE_RUST ? [SANITIZE_RUST] : [(await capture('rustc', ['--print', 'sysroot'])).trim(), '/usr'];
  const place = places.find((path) => existsSync(join(path, 'lib/rustlib/src/rust/library/Cargo.lock')));
  if (!place) {
    const how = 'run "rustup component add rust-src", or see "Sanitizers" in CONTRIBUTING.md';
    throw new Problem(`${places.join(' or ')} has no source of the standard library: ${how}.`);
  }
  const env = { PATH: join(place, 'bin') + delimiter + PATH };
  const { llvm, libraries } = await compiler([], env);
  console.log(`With the compiler and the standard library in ${place}.`);
  const flags = ['-Zsanitizer=thread'];
  if (hasSanitizer(libraries, 'tsan')) return { env, flags, symbolizer: [] };
  const clang = `clang-${llvm}`;
  flags.push('-Zexternal-clangrt', `-Clinker=${clang}`, '-Clink-arg=-fsanitize=thread');
  // Names the functions in a report, which suppressions refer to.
  const symbolizer = (await capture(clang, ['--print-prog-name=llvm-symbolizer'])).trim();
  return { env, flags, symbolizer: [`external_symbolizer_path=${symbolizer}`] };
}

/** Modules whose unit tests cover all `unsafe` code except single system calls. */
const INTERPRETED = ['read_buffer', 'copy', 'protocol', 'model', 'hub', 'store', 'session', 'stream::bridge'];

/** Runs tests of unsafe code, and sessions over simulated sockets, under both borrow models of Miri. */
async function interpretEngine() {
  const miri = await interpreter();
  const cargo = [...miri, 'test', '--locked', '--no-default-features'];
  const sessions = ['--features', 'faults', '--test', 'simulation', 'delivers_every_message'];
  const models = { 'Stacked Borrows': '', 'Tree Borrows': '-Zmiri-tree-borrows' };
  const steps = Object.entries(models).flatMap(([model, flag]) => {
    const env = {
      // Clocks and randomness are read from the system.
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

/** Returns the `cargo miri` command of the current toolchain, or of rustup's nightly one. */
async function interpreter() {
  const choices = [['cargo', 'miri'], ['cargo', '+nightly', 'miri']];
  for (const [program, ...args] of choices) {
    try {
      console.log((await capture(program, [...args, '--version'])).trim());
      return [program, ...args];
    } catch {
      // Not installed.
    }
  }
  throw new Problem('No toolchain has Miri: run "rustup toolchain install nightly --component miri,rust-src".');
}

/** Runs the Node tests with a sanitized addon, and restores the original one. */
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
    // Without leaks: V8 and Node keep memory until the end.
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
