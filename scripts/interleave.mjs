// `npm run torture:interleavings` runs tests/interleavings over many schedules. Options: --schedules (per scenario), --seed.
import { parseArgs } from 'node:util';
import { runSteps } from './steps.mjs';

const { values } = parseArgs({
  options: {
    schedules: { type: 'string', default: '200000' },
    seed: { type: 'string', default: '1' },
  },
});
const cargo = ['cargo', 'test', '--locked', '--profile', 'torture', '--no-default-features', '--features', 'faults,shuttle'];
const env = { INTERLEAVINGS: values.schedules, INTERLEAVINGS_SEED: values.seed };
const command = [...cargo, '--test', 'interleavings', '--', '--nocapture'];
await runSteps([{ name: 'Interleavings', command, env, minutes: 240 }]);
