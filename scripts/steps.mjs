// Runs commands one after the other and prints a summary of their results.
import { spawn } from 'node:child_process';
import { stripVTControlCharacters } from 'node:util';
import { root, seconds } from './process.mjs';
import { addRustToPath } from './rust.mjs';

const MINUTES = 15;

// The summaries of cargo, "test result: ok. 12 passed; 0 failed; 0 ignored", and of node:test, "ℹ pass 12".
const COUNTS = {
  passed: /^test result: .* (\d+) passed;|^ℹ pass (\d+)$/gm,
  failed: /^test result: .*; (\d+) failed;|^ℹ fail (\d+)$/gm,
  skipped: /^test result: .*; (\d+) ignored;|^ℹ (?:skipped|todo) (\d+)$/gm,
};

/** Runs all steps, even after a failure. A step is `{ name, command: [program, ...arguments], env, minutes }`. */
export async function runSteps(steps) {
  addRustToPath();
  const results = [];
  for (const step of steps) {
    console.log(`\n=== ${step.name}: ${shown(step.command)}\n`);
    results.push({ name: step.name, ...(await runStep(step)) });
  }
  summarize(results);
  if (results.some(({ failure }) => failure)) process.exitCode = 1;
}

function runStep({ command: [program, ...args], env, minutes = MINUTES }) {
  const started = performance.now();
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      cwd: root,
      // Forced colors, because the output goes through a pipe.
      env: { ...process.env, ...(process.stdout.isTTY && { CARGO_TERM_COLOR: 'always', FORCE_COLOR: '1' }), ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: minutes * 60_000,
    });
    let output = '';
    child.stdout.on('data', (chunk) => process.stdout.write(chunk));
    child.stderr.on('data', (chunk) => process.stderr.write(chunk));
    child.stdout.setEncoding('utf8').on('data', (text) => (output += text));
    const end = (failure) => {
      const counts = countTests(output);
      // A failure outside of tests, such as a compile error, counts as one.
      if (failure) counts.failed = Math.max(counts.failed, 1);
      resolve({ failure, time: seconds(started), ...counts });
    };
    child.on('error', (error) => end(error.message));
    child.on('close', (code, signal) => end(code === 0 ? null : (signal ?? `exit code ${code}`)));
  });
}

export function countTests(output) {
  const text = stripVTControlCharacters(output);
  const sum = (pattern) => Array.from(text.matchAll(pattern), ([, a, b]) => Number(a ?? b)).reduce((a, b) => a + b, 0);
  return { passed: sum(COUNTS.passed), failed: sum(COUNTS.failed), skipped: sum(COUNTS.skipped) };
}

function summarize(results) {
  const width = Math.max(...results.map(({ name }) => name.length));
  console.log('\n=== Summary\n');
  for (const { name, failure, time, passed, failed } of results) {
    const tests = passed > 0 ? `${passed} passed, ${failed} failed` : '';
    console.log(`${failure ? 'FAILED' : 'ok    '}  ${name.padEnd(width)}  ${time.padStart(7)}  ${tests || (failure ?? '')}`.trimEnd());
  }
  const total = (key) => results.reduce((sum, result) => sum + result[key], 0);
  console.log(`\n${total('passed')} passed, ${total('failed')} failed, ${total('skipped')} skipped`);
}

/** Formats a command, with the number of test files in place of their names. */
function shown([program, ...args]) {
  const name = program === process.execPath ? 'node' : program;
  const files = args.filter((argument) => argument.includes('.test.'));
  const rest = args.filter((argument) => !files.includes(argument));
  return [name, ...rest, ...(files.length ? [`(${files.length} files)`] : [])].join(' ');
}
