// Counts the instructions of the cases in benches/, which unlike time are the same in every run.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { capture, Problem } from '../../scripts/process.mjs';
import { checkRust } from '../../scripts/rust.mjs';

/** The files in benches/, with two numbers of iterations. The difference of their counts excludes what happens only once. */
const BENCHES = { codec: [100, 600], mailbox: [100, 600], shapes: [2, 12] };
/** Factor by which the count may grow for twice the size. */
const TWICE = 2.2;
/** Relative difference allowed between an unknown id and a wrong token, which are both looked up in a table. */
const UNKNOWN = 0.01;
/** Relative growth that is no regression: hash tables and allocators vary by a few instructions with other code. */
const TOLERANCE = 0.02;

const results = new URL('../results/', import.meta.url);

const USAGE = `npm run bench:instructions -- [options]
  --only TEXT      runs only cases with this text in their name
  --save NAME      stores the counts in bench/results/instructions-NAME.json
  --against NAME   compares with stored counts, and fails if a case takes over ${TOLERANCE * 100} % more`;

export async function main() {
  const { values: options } = parseArgs({
    options: {
      only: { type: 'string', default: '' },
      save: { type: 'string' },
      against: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (options.help) return console.log(USAGE);
  checkValgrind();
  checkRust();
  const before = options.against ? load(options.against) : {};
  const counts = {};
  let hasGrown = false;
  for (const [bench, [few, many]] of Object.entries(BENCHES)) {
    const program = await build(bench);
    const names = execFileSync(program, { encoding: 'utf8' }).trim().split('\n');
    for (const [index, name] of names.entries()) {
      if (!name.includes(options.only)) continue;
      counts[name] = (count(program, index, many) - count(program, index, few)) / (many - few);
      const growth = name in before ? counts[name] / before[name] - 1 : 0;
      hasGrown ||= growth > TOLERANCE;
      console.log(line(name, counts[name], before[name]));
    }
  }
  if (options.save) save(options.save, counts);
  const problems = disproportions(counts);
  problems.forEach((problem) => console.error(problem));
  if (hasGrown || problems.length > 0) process.exitCode = 1;
}

/** Returns messages about counts that grow too fast, or that reveal something about a token. */
function disproportions(counts) {
  const names = Object.keys(counts);
  const ratio = (name) => counts[name] / counts[name.replace(/twice$/, 'once')];
  const grown = names.filter((name) => name.endsWith(', twice') && !(ratio(name) <= TWICE));
  const tokens = names.filter((name) => name.startsWith('token ') && !name.endsWith('id')).map((name) => counts[name]);
  const unknown = counts['token of an unknown id'] ?? tokens[0];
  return [
    ...grown.map((name) => `${name} the size: takes ${ratio(name).toFixed(2)} times as many instructions.`),
    ...(new Set(tokens).size > 1 ? [`The position of a wrong digit in a token is revealed: ${tokens.join(', ')}.`] : []),
    ...(Math.abs(unknown / tokens[0] - 1) > UNKNOWN ? [`An unknown id is revealed: ${unknown}, not ${tokens[0]}.`] : []),
  ];
}

function checkValgrind() {
  if (spawnSync('valgrind', ['--version'], { stdio: 'ignore' }).status === 0) return;
  throw new Problem('valgrind is required: run "apt-get install valgrind", or install it in your system\'s way.');
}

/** Builds a bench with the release profile, without the binding. */
async function build(bench) {
  const messages = await capture('cargo', [
    ...['bench', '--no-run', '--locked', '--no-default-features', '--bench', bench],
    '--message-format=json-render-diagnostics',
  ]);
  const artifacts = messages.split('\n').filter((text) => text.startsWith('{')).map((text) => JSON.parse(text));
  return artifacts.find(({ executable, target }) => executable && target.name === bench).executable;
}

/** Keeps the C library from using `rep movsb`, of which every byte would count as an instruction. */
const ENVIRONMENT = { ...process.env, GLIBC_TUNABLES: 'glibc.cpu.x86_rep_movsb_threshold=1000000000' };

function count(program, index, iterations) {
  const args = ['--tool=cachegrind', '--cache-sim=no', '--cachegrind-out-file=/dev/null', program, String(index), String(iterations)];
  const { status, stderr } = spawnSync('valgrind', args, { encoding: 'utf8', env: ENVIRONMENT });
  const found = /I\s+refs:\s+([\d,]+)/.exec(stderr);
  if (status !== 0 || !found) throw new Problem(`${stderr}\nvalgrind failed.`);
  return Number(found[1].replaceAll(',', ''));
}

function line(name, now, before) {
  const shown = Math.round(now).toLocaleString('en').padStart(10);
  if (before === undefined) return `${shown}  ${name}`;
  const change = (100 * (now / before - 1)).toFixed(1);
  return `${shown}  ${`${change > 0 ? '+' : ''}${change} %`.padStart(8)}  ${name}`;
}

const fileOf = (name) => new URL(`instructions-${name}.json`, results);

function load(name) {
  try {
    return JSON.parse(readFileSync(fileOf(name), 'utf8'));
  } catch {
    throw new Problem(`There are no counts named "${name}"; store them with --save ${name}.`);
  }
}

function save(name, counts) {
  mkdirSync(results, { recursive: true });
  writeFileSync(fileOf(name), `${JSON.stringify(counts, null, 1)}\n`);
}
