// `npm test` runs everything; `npm test -- browser` only the steps whose name has that word in it.
import { lints, tests } from './checks.mjs';
import { runSteps } from './steps.mjs';

const words = process.argv.slice(2).map((word) => word.toLowerCase());
const steps = [...lints, ...tests];
const chosen = steps.filter(({ name }) => words.every((word) => name.toLowerCase().includes(word)));
if (chosen.length === 0) {
  console.error(`No step has "${words.join(' ')}" in its name. There are:\n${steps.map(({ name }) => `  ${name}`).join('\n')}`);
  process.exit(1);
}
await runSteps(chosen);
