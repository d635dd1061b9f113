import { lints } from './checks.mjs';
import { runSteps } from './steps.mjs';

await runSteps(lints);
