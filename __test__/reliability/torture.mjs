// `npm run torture:delivery`: the test of reliability.test.mjs at full size, a run for each door and seed, with a scorecard.
// Options: --door (one of doors.mjs) and --seed (both may be repeated), --pairs, --messages, --seconds (over which they are
// sent), --together (connections that share the faults of one storm).
import { parseArgs } from 'node:util';
import { DOORS } from './doors.mjs';
import { run } from './harness.mjs';
import { failures, row } from './score.mjs';

const { values } = parseArgs({
  options: {
    door: { type: 'string', multiple: true, default: ['port'] },
    seed: { type: 'string', multiple: true, default: ['1', '2', '3', '4', '5'] },
    pairs: { type: 'string', default: '1000' },
    messages: { type: 'string', default: '1000000' },
    seconds: { type: 'string', default: '120' },
    together: { type: 'string', default: '20' },
  },
});
const unknown = values.door.find((door) => !DOORS.includes(door));
if (unknown !== undefined) {
  console.error(`There is no door "${unknown}". There are: ${DOORS.join(', ')}`);
  process.exit(1);
}
const rows = [];
for (const [door, seed] of values.door.flatMap((door) => values.seed.map((seed) => [door, seed]))) {
  console.log(`door ${door}, seed ${seed} …`);
  const result = await run({
    door,
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
