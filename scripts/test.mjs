// `npm test` runs everything; `npm test -- browser` only the steps whose name has that word in it.
import { lints, tests } from './checks.mjs';
import { runSteps } from './steps.mjs';

const words = process.argv.slice(2).map((word) => word.toLowerCase());
await runSteps([...lints, ...tests].filter(({ name }) => words.every((word) => name.toLowerCase().includes(word))));
