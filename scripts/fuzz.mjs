// `npm run fuzz -- --seconds 600` fuzzes every target, for so long in all; with names, only those. `--keep` adds to the
// corpora what was found that covers more.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { compiler, hasSanitizer, needTool } from './cargo-tools.mjs';
import { capture, Problem, root } from './process.mjs';

const TARGETS = readdirSync(join(root, 'fuzz/fuzz_targets'), 'utf8').map((file) => file.replace('.rs', ''));
const NIGHTLY = /^nightly\S*/m;
/** What a target is built and run with in place of what all are: many sessions a second find more than slow ones that are watched. */
const OTHERS = {
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
  if (unknown) throw new Problem(`There is no target ${unknown}: there are ${TARGETS.join(', ')}.`);
  return { seconds, keep: values.keep, targets: positionals.length ? positionals : TARGETS };
}

/** @returns whether something was found that is wrong */
async function fuzz({ seconds, keep, targets }) {
  await needTool('cargo-fuzz');
  const { cargo, env, sanitizer } = await toolchain();
  const each = Math.ceil(seconds / targets.length);
  let isWrong = false;
  for (const target of targets) {
    const other = OTHERS[target];
    const flags = ['--sanitizer', other?.sanitizer ?? sanitizer, ...(other?.build ?? []), '--target-dir', 'target/fuzz'];
    const start = [...cargo, 'fuzz', 'run', ...flags, target];
    // New finds go here, so that the corpus that is committed stays as it is.
    const found = `target/fuzz/corpus/${target}`;
    mkdirSync(join(root, found), { recursive: true });
    const dictionary = `fuzz/dictionaries/${target}.dict`;
    const libfuzzer = ['-rss_limit_mb=2048', '-timeout=10', '-print_final_stats=1', ...(other?.run ?? ['-max_len=4096'])];
    if (existsSync(join(root, dictionary))) libfuzzer.push(`-dict=${dictionary}`);
    const corpora = [found, `fuzz/corpus/${target}`];
    const failed = await run([...start, ...corpora, '--', ...libfuzzer, `-max_total_time=${each}`], env);
    if (failed) console.error(`\nWhat is wrong: put right what fuzz/artifacts/${target} shows, and add it to fuzz/corpus/${target}.`);
    else if (keep) await run([...start, ...corpora.reverse(), '--', '-merge=1'], env);
    isWrong ||= failed;
  }
  return isWrong;
}

/** A nightly compiler where there is one; any other can do what it does when told to. Memory is watched where that can be. */
async function toolchain() {
  const nightly = NIGHTLY.exec(await capture('rustup', ['toolchain', 'list']).catch(() => ''))?.[0];
  const choice = nightly ? [`+${nightly}`] : [];
  const env = nightly ? {} : { RUSTC_BOOTSTRAP: '1' };
  const { libraries } = await compiler(choice, env);
  const sanitizer = hasSanitizer(libraries, 'asan') ? 'address' : 'none';
  console.log(`Fuzzing with ${nightly ?? 'RUSTC_BOOTSTRAP=1'}, sanitizer: ${sanitizer}.`);
  return { cargo: ['cargo', ...choice], env, sanitizer };
}

/** @returns whether it failed */
function run([program, ...args], env) {
  console.log(`\n=== ${[program, ...args].join(' ')}\n`);
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: root, env: { ...process.env, ...env }, stdio: 'inherit' });
    child.on('error', reject);
    child.on('close', (code) => resolve(code !== 0));
  });
}
