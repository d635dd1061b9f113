// `npm run torture:simulation` runs tests/simulation over many seeds. Options: --seeds, --from, --lines (shown of a failed run).
import { parseArgs } from 'node:util';
import { runSteps } from './steps.mjs';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '100000' },
    from: { type: 'string', default: '0' },
    lines: { type: 'string', default: '150' },
  },
});
const cargo = ['cargo', 'test', '--locked', '--profile', 'torture', '--no-default-features', '--features', 'faults'];
const env = { SIMULATION_SEEDS: values.seeds, SIMULATION_FROM: values.from, SIMULATION_LINES: values.lines };
await runSteps([
  {
    name: 'Simulation',
    command: [...cargo, '--test', 'simulation', '--', '--ignored', '--nocapture', '--exact', 'torture'],
    env,
    minutes: 240,
  },
]);
