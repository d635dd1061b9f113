// `npm run bench:instructions` counts the instructions of parts of the engine with valgrind.
import { onRightNode } from '../scripts/node-version.mjs';

onRightNode(new URL('./lib/instructions.mjs', import.meta.url), ({ main }) => main());
