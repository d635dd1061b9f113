// `npm run fuzz -- --seconds 600` fuzzes all targets, or those named, for that long in total. `--keep` adds inputs that cover
// more to the corpora.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { compiler, hasSanitizer, installTool } from './cargo-tools.mjs';
import { capture, Problem, root } from './process.mjs';

const TARGETS = readdirSync(join(root, 'fuzz/fuzz_targets'), 'utf8').map((file) => file.replace('.rs', ''));
const NIGHTLY = /^nightly\S*/m;
/** Settings of single targets. `session` runs without a sanitizer: many sessions a second find more than a few watched ones. */
const OVERRIDES = {
  session: { sanitizer: 'none', build: ['--no-trace-compares'], run: ['-max_len=1024', '-entropic=0'] },
};

try {
  if (await fuzz(options())) process.exitCode = 1;
} catch (error) {
  if (!(error instanceof Problem)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}

function options() {
  const { values, positionals } = parseArgs({
    options: { seconds: { type: 'string', default: '60' }, keep: { type: 'boolean', default: false } },
    allowPositionals: true,
  });
  const seconds = Number(values.seconds);
  const unknown = positionals.find((name) => !TARGETS.includes(name));
  if (!(seconds > 0)) throw new Problem(`--seconds must be a number above 0, not ${values.seconds}.`);
  if (unknown) throw new Problem(`There is no target ${unknown}. The targets are: ${TARGETS.join(', ')}.`);
  return { seconds, keep: values.keep, targets: positionals.length ? positionals : TARGETS };
}

/** Returns whether a failure was found. */
async function fuzz({ seconds, keep, targets }) {
  await installTool('cargo-fuzz');
  const { cargo, env, sanitizer } = await toolchain();
  const each = Math.ceil(seconds / targets.length);
  let hasFailed = false;
  for (const target of targets) {
    const override = OVERRIDES[target];
    const flags = ['--sanitizer', override?.sanitizer ?? sanitizer, ...(override?.build ?? []), '--target-dir', 'target/fuzz'];
    const start = [...cargo, 'fuzz', 'run', ...flags, target];
    // New inputs go here, to leave the committed corpus alone.
    const found = `target/fuzz/corpus/${target}`;
    mkdirSync(join(root, found), { recursive: true });
    const dictionary = `fuzz/dictionaries/${target}.dict`;
    const libfuzzer = ['-rss_limit_mb=2048', '-timeout=10', '-print_final_stats=1', ...(override?.run ?? ['-max_len=4096'])];
    if (existsSync(join(root, dictionary))) libfuzzer.push(`-dict=${dictionary}`);
    const corpora = [found, `fuzz/corpus/${target}`];
    const failed = await run([...start, ...corpora, '--', ...libfuzzer, `-max_total_time=${each}`], env);
    if (failed) console.error(`\nFailed: add the input in fuzz/artifacts/${target} to fuzz/corpus/${target}, and fix what it shows.`);
    else if (keep) await run([...start, ...corpora.reverse(), '--', '-merge=1'], env);
    hasFailed ||= failed;
  }
  return hasFailed;
}

/** Returns a nightly toolchain, or else a stable one with unstable features enabled, and its sanitizer. */
async function toolchain() {
  const nightly = NIGHTLY.exec(await capture('rustup', ['toolchain', 'list']).catch(() => ''))?.[0];
  const choice = nightly ? [`+${nightly}`] : [];
  const env = nightly ? {} : { RUSTC_BOOTSTRAP: '1' };
  const { libraries } = await compiler(choice, env);
  const sanitizer = hasSanitizer(libraries, 'asan') ? 'address' : 'none';
  console.log(`Fuzzing with ${nightly ?? 'RUSTC_BOOTSTRAP=1'}, sanitizer: ${sanitizer}.`);
  return { cargo: ['cargo', ...choice], env, sanitizer };
}

/** Runs a command. Returns whether it failed. */
function run([program, ...args], env) {
  console.log(`\n=== ${[program, ...args].join(' ')}\n`);
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: root, env: { ...process.env, ...env }, stdio: 'inherit' });
    child.on('error', reject);
    child.on('close', (code) => resolve(code !== 0));
  });
}
