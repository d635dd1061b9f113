// `npm run torture:delivery` runs the test of reliability.test.mjs at full size, for each entry and seed, and prints a scorecard.
// Options: --entry (see entries.mjs) and --seed, which may be repeated; --pairs, --messages, --seconds (over which they are sent),
// --together (connections that share faults).
import { parseArgs } from 'node:util';
import { ENTRIES } from './entries.mjs';
import { run } from './harness.mjs';
import { failures, row } from './score.mjs';

const { values } = parseArgs({
  options: {
    entry: { type: 'string', multiple: true, default: ['port'] },
    seed: { type: 'string', multiple: true, default: ['1', '2', '3', '4', '5'] },
    pairs: { type: 'string', default: '1000' },
    messages: { type: 'string', default: '1000000' },
    seconds: { type: 'string', default: '120' },
    together: { type: 'string', default: '20' },
  },
});
const unknown = values.entry.find((entry) => !ENTRIES.includes(entry));
if (unknown !== undefined) {
  console.error(`There is no entry "${unknown}". The entries are: ${ENTRIES.join(', ')}`);
  process.exit(1);
}
const rows = [];
for (const [entry, seed] of values.entry.flatMap((entry) => values.seed.map((seed) => [entry, seed]))) {
  console.log(`entry ${entry}, seed ${seed} …`);
  const result = await run({
    entry,
    seed,
    pairs: Number(values.pairs),
    messages: Number(values.messages),
    milliseconds: Number(values.seconds) * 1000,
    together: Number(values.together),
    pingTimeout: 20_000,
  });
  rows.push(row(result));
  const wrong = failures(result);
  if (wrong.length > 0) process.exitCode = 1;
  wrong.forEach((line) => console.error(line));
}
console.table(rows);
