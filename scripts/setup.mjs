// Makes a fresh clone ready to start, or with --browser to be tested; does nothing that is done already.
import { onRightNode } from './node-version.mjs';

onRightNode('./prepare.mjs', ({ setup }) => setup({ forTests: process.argv.includes('--browser') }));
