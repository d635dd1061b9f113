// `npm run coverage` measures the line coverage of the Rust tests, fuzzing corpora included, and fails if that of protocol/ or
// model/ is too low.
import { existsSync, readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { compiler, installTool } from './cargo-tools.mjs';
import { capture, Problem, root } from './process.mjs';

/** Percent of the lines. */
const NEEDED = { 'src/protocol': 95, 'src/model': 95 };
const REPORT = join(root, 'target', 'coverage.lcov');

try {
  await measure();
} catch (error) {
  if (!(error instanceof Problem)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}

async function measure() {
  await installTool('cargo-llvm-cov');
  const env = { ...process.env, ...(await llvmTools()) };
  console.log('Running the Rust tests, built to count what they run (some minutes) ...');
  await capture('cargo', ['llvm-cov', 'test', '--locked', '--no-default-features', '--features', 'faults', '--lcov', '--output-path', REPORT], { env });
  report(counts(readFileSync(REPORT, 'utf8')));
}

/** Finds LLVM tools of the compiler's version: rustup's, or the system's. */
async function llvmTools() {
  if (process.env.LLVM_COV && process.env.LLVM_PROFDATA) return {};
  const { llvm, libraries } = await compiler();
  const places = [join(libraries, 'bin'), `/usr/lib/llvm-${llvm}/bin`];
  const find = () => places.find((folder) => existsSync(join(folder, 'llvm-profdata')));
  if (!find()) {
    console.log('Installing llvm-tools ...');
    await capture('rustup', ['component', 'add', 'llvm-tools']).catch(() => {
      throw new Problem(`llvm-cov and llvm-profdata of LLVM ${llvm} are required: run "rustup component add llvm-tools", or install the package llvm-${llvm}.`);
    });
  }
  return { LLVM_COV: join(find(), 'llvm-cov'), LLVM_PROFDATA: join(find(), 'llvm-profdata') };
}

/** Returns the number of code lines and the uncovered lines of each file in src/, without unit tests. */
function counts(lcov) {
  return lcov
    .split('end_of_record')
    .filter((record) => record.includes('SF:'))
    .map((record) => {
      const path = relative(root, /^SF:(.*)$/m.exec(record)[1]).replaceAll(sep, '/');
      const source = readFileSync(join(root, path), 'utf8').split('\n');
      const tests = source.findIndex((line, place) => line.startsWith('#[cfg(test)]') && source[place + 1]?.startsWith('mod '));
      const lines = Array.from(record.matchAll(/^DA:(\d+),(\d+)/gm), ([, line, count]) => ({ line: Number(line), ran: count !== '0' }));
      const code = lines.filter(({ line }) => tests < 0 || line <= tests);
      return { path, lines: code.length, missed: code.filter(({ ran }) => !ran).map(({ line }) => line) };
    })
    .filter(({ path }) => path.startsWith('src/') && !path.endsWith('/tests.rs'));
}

function report(files) {
  for (const { path, lines, missed } of files) console.log(row(path, lines, missed.length), missed.join(' '));
  const folders = new Set(files.map(({ path }) => path.split('/').slice(0, 2).join('/').replace(/\.rs$/, '')));
  console.log();
  for (const folder of [...folders, 'src']) {
    const inside = files.filter(({ path }) => path.startsWith(`${folder}/`) || path === `${folder}.rs`);
    const sum = (number) => inside.reduce((total, file) => total + number(file), 0);
    const [lines, missed] = [sum((file) => file.lines), sum((file) => file.missed.length)];
    const needed = NEEDED[folder];
    const tooFew = needed > percent(lines, missed);
    console.log(row(folder, lines, missed), tooFew ? `TOO LOW: ${needed} % is required` : '');
    if (tooFew) process.exitCode = 1;
  }
}

function percent(lines, missed) {
  return (100 * (lines - missed)) / Math.max(lines, 1);
}

function row(name, lines, missed) {
  return `${name.padEnd(32)} ${String(lines).padStart(6)} lines ${percent(lines, missed).toFixed(1).padStart(6)} %`;
}
