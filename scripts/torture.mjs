// `npm run torture` runs the long tests; `npm run torture -- attacks` only the parts named. Arguments behind a single part are
// passed on to it: `npm run torture -- delivery --seed 7`.
import { runSteps } from './steps.mjs';

const node = process.execPath;

/** The command of each part. */
const PARTS = {
  delivery: [node, '__test__/reliability/torture.mjs'],
  restarts: [node, '__test__/reliability/torture.mjs', 'restarts'],
  attacks: [node, '__test__/attacks/torture.mjs'],
  simulation: [node, 'scripts/simulate.mjs'],
  interleavings: [node, 'scripts/interleave.mjs'],
  conformance: [node, 'conformance/run.mjs'],
  cycles: [node, '--expose-gc', '__test__/endurance/cycles.mjs'],
  workers: [node, '--expose-gc', '__test__/endurance/workers.mjs'],
};

const [first, ...rest] = process.argv.slice(2);
const options = rest.every((word) => word in PARTS) ? [] : rest;
const names = first === undefined ? Object.keys(PARTS) : [first, ...(options.length > 0 ? [] : rest)];
const unknown = names.find((name) => !(name in PARTS));
if (unknown !== undefined) {
  console.error(`There is no part "${unknown}". The parts are: ${Object.keys(PARTS).join(', ')}.`);
  process.exit(1);
}
await runSteps(names.map((name) => ({ name, command: [...PARTS[name], ...options], minutes: 60 })));
