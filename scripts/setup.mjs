// Prepares a fresh clone for `npm start`, or with --browser for `npm test`. Skips what is up to date.
import { onRightNode } from './node-version.mjs';

onRightNode('./prepare.mjs', ({ setup }) => setup({ forTests: process.argv.includes('--browser') }));
