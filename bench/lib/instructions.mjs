// Counts the instructions of the cases in benches/. Unlike time, they are the same from run to run.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { capture, Problem } from '../../scripts/process.mjs';
import { checkRust } from '../../scripts/rust.mjs';

/** Files in benches/, and how often a case of theirs is run. What is there once, whatever is run, is in both counts and so
 * in no difference. */
const BENCHES = { codec: [100, 600], mailbox: [100, 600], shapes: [2, 12] };
/** What of twice the size may take so many times as much. */
const TWICE = 2.2;
/** An unknown id may differ from a wrong token by so much: a table is searched for both. */
const UNKNOWN = 0.01;
/** More than so much is a change: hash tables and allocators differ by a few instructions when others' code does. */
const TOLERANCE = 0.02;

const results = new URL('../results/', import.meta.url);

const USAGE = `npm run bench:instructions -- [options]
  --only TEXT      only cases with this in their name
  --save NAME      keeps the counts in bench/results/instructions-NAME.json
  --against NAME   compares with them, and fails when a case takes over ${TOLERANCE * 100} % more`;

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

/** Where work is out of proportion to what there is to do, or tells something of a token: sentences. */
function disproportions(counts) {
  const names = Object.keys(counts);
  const ratio = (name) => counts[name] / counts[name.replace(/twice$/, 'once')];
  const grown = names.filter((name) => name.endsWith(', twice') && !(ratio(name) <= TWICE));
  const tokens = names.filter((name) => name.startsWith('token ') && !name.endsWith('id')).map((name) => counts[name]);
  const unknown = counts['token of an unknown id'] ?? tokens[0];
  return [
    ...grown.map((name) => `${name} the size takes ${ratio(name).toFixed(2)} times as much.`),
    ...(new Set(tokens).size > 1 ? [`Where a token is wrong can be told: ${tokens.join(', ')}.`] : []),
    ...(Math.abs(unknown / tokens[0] - 1) > UNKNOWN ? [`An unknown id can be told: ${unknown}, not ${tokens[0]}.`] : []),
  ];
}

function checkValgrind() {
  if (spawnSync('valgrind', ['--version'], { stdio: 'ignore' }).status === 0) return;
  throw new Problem('Instructions are counted by valgrind, and there is none: "apt-get install valgrind", or your system\'s way.');
}

/** With the engine as it is shipped: the profile of a release, but without Node. */
async function build(bench) {
  const messages = await capture('cargo', [
    ...['bench', '--no-run', '--locked', '--no-default-features', '--bench', bench],
    '--message-format=json-render-diagnostics',
  ]);
  const artifacts = messages.split('\n').filter((text) => text.startsWith('{')).map((text) => JSON.parse(text));
  return artifacts.find(({ executable, target }) => executable && target.name === bench).executable;
}

/** `rep movsb`, by which the C library copies what is long, would be counted as an instruction for each byte. */
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
    throw new Problem(`There are no counts named "${name}": take them with --save ${name}.`);
  }
}

function save(name, counts) {
  mkdirSync(results, { recursive: true });
  writeFileSync(fileOf(name), `${JSON.stringify(counts, null, 1)}\n`);
}
