// Counts the instructions of the cases in benches/. Unlike time, they are the same from run to run.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { capture, Problem } from '../../scripts/process.mjs';
import { checkRust } from '../../scripts/rust.mjs';

/** Files in benches/. */
const BENCHES = ['codec', 'mailbox'];
/** What is there once, whatever is run, is in both counts and so in no difference. */
const [FEW, MANY] = [100, 600];
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
  for (const bench of BENCHES) {
    const program = await build(bench);
    const names = execFileSync(program, { encoding: 'utf8' }).trim().split('\n');
    for (const [index, name] of names.entries()) {
      if (!name.includes(options.only)) continue;
      counts[name] = (count(program, index, MANY) - count(program, index, FEW)) / (MANY - FEW);
      const growth = name in before ? counts[name] / before[name] - 1 : 0;
      hasGrown ||= growth > TOLERANCE;
      console.log(line(name, counts[name], before[name]));
    }
  }
  if (options.save) save(options.save, counts);
  if (hasGrown) process.exitCode = 1;
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
