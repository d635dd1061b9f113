// `npm test` runs all checks; `npm test -- browser` only the steps whose name contains that word.
import { lints, tests } from './checks.mjs';
import { runSteps } from './steps.mjs';

const words = process.argv.slice(2).map((word) => word.toLowerCase());
const steps = [...lints, ...tests];
const chosen = steps.filter(({ name }) => words.every((word) => name.toLowerCase().includes(word)));
if (chosen.length === 0) {
  console.error(`No step is named "${words.join(' ')}". The steps are:\n${steps.map(({ name }) => `  ${name}`).join('\n')}`);
  process.exit(1);
}
await runSteps(chosen);
