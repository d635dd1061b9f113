// `npm run sanitize -- thread` runs the Rust tests under ThreadSanitizer, `npm run sanitize -- address` the addon and its Node
// tests under AddressSanitizer. On Linux, with a compiler of any channel: what they need is not stable.
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findFiles } from './files.mjs';
import { root } from './process.mjs';
import { addRustToPath } from './rust.mjs';
import { runSteps } from './steps.mjs';

const TARGET = `${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-unknown-linux-gnu`;
const MINUTES = 60;

addRustToPath();
const [kind] = process.argv.slice(2);
const folder = join(root, 'target', 'sanitize', kind ?? '');
const base = { RUSTC_BOOTSTRAP: '1', CARGO_TARGET_DIR: folder };

if (kind === 'thread') {
  // The standard library is not built with it where its source is not there. What it synchronises is then not seen: the
  // suppressions name what it would report of that.
  const sysroot = execFileSync('rustc', ['--print', 'sysroot'], { encoding: 'utf8' }).trim();
  const hasSource = existsSync(join(sysroot, 'lib', 'rustlib', 'src', 'rust', 'library'));
  const flags = ['-Zsanitizer=thread', ...(hasSource ? [] : ['-Cunsafe-allow-abi-mismatch=sanitizer'])];
  const cargo = ['cargo', 'test', '--locked', '--no-default-features', '--no-fail-fast', '--target', TARGET];
  const std = hasSource ? ['-Zbuild-std'] : [];
  const suppressions = join(root, 'scripts', 'thread-sanitizer.txt');
  await runSteps([
    {
      name: 'ThreadSanitizer',
      command: [...cargo, ...std, '--lib', '--tests'],
      env: {
        ...base,
        RUSTFLAGS: flags.join(' '),
        TSAN_OPTIONS: `suppressions=${suppressions} halt_on_error=0 exitcode=66`,
        WEBSOCKET_RELAY_TEST_THREADS: '4',
        PROPTEST_CASES: '32',
        SIMULATION_QUICK_SEEDS: '100',
      },
      minutes: MINUTES,
    },
  ]);
} else if (kind === 'address') {
  const built = join(folder, TARGET, 'debug', 'libwebsocket_relay.so');
  const runtime = execFileSync('gcc', ['-print-file-name=libasan.so'], { encoding: 'utf8' }).trim();
  await runSteps([
    {
      name: 'AddressSanitizer, build',
      command: ['cargo', 'build', '--locked', '--target', TARGET],
      env: { ...base, RUSTFLAGS: '-Zsanitizer=address -Zexternal-clangrt -Cunsafe-allow-abi-mismatch=sanitizer' },
      minutes: MINUTES,
    },
  ]);
  if (existsSync(built)) await testAddon(built, runtime);
} else {
  console.error('npm run sanitize -- thread, or -- address');
  process.exitCode = 2;
}

/** The Node tests with this addon in place of the one that is there, which comes back. */
async function testAddon(built, runtime) {
  const place = join(root, `websocket_relay.linux-${process.arch}-gnu.node`);
  const kept = join(mkdtempSync(join(tmpdir(), 'websocket-relay-')), 'addon.node');
  if (existsSync(place)) copyFileSync(place, kept);
  try {
    copyFileSync(built, place);
    // What V8 and Node keep until the end is no leak of ours: only errors count.
    const env = { LD_PRELOAD: runtime, ASAN_OPTIONS: 'detect_leaks=0:abort_on_error=0:exitcode=67' };
    const files = findFiles('__test__/server', /\.test\.mjs$/);
    const node = [process.execPath, '--test', '--test-reporter=spec', '--test-timeout=600000', ...files];
    await runSteps([{ name: 'AddressSanitizer', command: node, env, minutes: MINUTES }]);
  } finally {
    if (existsSync(kept)) copyFileSync(kept, place);
    else rmSync(place);
  }
}
