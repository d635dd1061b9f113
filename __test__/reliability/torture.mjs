// `npm run torture:delivery` runs the tests of reliability.test.mjs at full size, for each entry and seed, and prints a scorecard.
// `npm run torture:restarts` kills the server meanwhile, for each durability and seed.
// Options: --entry (see entries.mjs), --durability and --seed, which may be repeated; --pairs, --messages, --seconds (over which
// they are sent), --kills, --together (connections that share faults).
import { parseArgs } from 'node:util';
import { ENTRIES } from './entries.mjs';
import { run } from './harness.mjs';
import { failures, row } from './score.mjs';

/** Nothing survives without a store, which shows that the harness finds what is lost. */
const DURABILITIES = ['written', 'synced', 'none'];

const isOfRestarts = process.argv[2] === 'restarts';
const { values } = parseArgs({
  args: process.argv.slice(isOfRestarts ? 3 : 2),
  options: {
    entry: { type: 'string', multiple: true, default: ['port'] },
    durability: { type: 'string', multiple: true, default: isOfRestarts ? ['written', 'synced'] : ['none'] },
    seed: { type: 'string', multiple: true, default: ['1', '2', '3', '4', '5'] },
    pairs: { type: 'string', default: '1000' },
    messages: { type: 'string', default: isOfRestarts ? '200000' : '1000000' },
    seconds: { type: 'string', default: isOfRestarts ? '60' : '120' },
    kills: { type: 'string', default: isOfRestarts ? '20' : '0' },
    together: { type: 'string', default: '20' },
  },
});
check('entry', values.entry, ENTRIES);
check('durability', values.durability, DURABILITIES);
const rows = [];
for (const entry of values.entry) {
  for (const durability of values.durability) {
    for (const seed of values.seed) await judge({ entry, seed, durability: durability === 'none' ? undefined : durability });
  }
}
console.table(rows);

async function judge({ entry, seed, durability }) {
  console.log(`entry ${entry}, store ${durability ?? 'none'}, seed ${seed} …`);
  const result = await run({
    ...{ entry, seed, durability },
    pairs: Number(values.pairs),
    messages: Number(values.messages),
    milliseconds: Number(values.seconds) * 1000,
    kills: Number(values.kills),
    together: Number(values.together),
    // Only plain clients, of which there are none among restarts, have to wait for a slow machine.
    ...(isOfRestarts ? {} : { pingTimeout: 20_000 }),
  });
  rows.push(row(result));
  const wrong = failures(result);
  if (wrong.length > 0) process.exitCode = 1;
  wrong.forEach((line) => console.error(line));
}

function check(option, given, known) {
  const unknown = given.find((one) => !known.includes(one));
  if (unknown === undefined) return;
  console.error(`There is no ${option} "${unknown}". There is: ${known.join(', ')}`);
  process.exit(1);
}
