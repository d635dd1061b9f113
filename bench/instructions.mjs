// npm run bench:instructions: how many instructions a part of the engine takes, counted by valgrind.
import { onRightNode } from '../scripts/node-version.mjs';

onRightNode(new URL('./lib/instructions.mjs', import.meta.url), ({ main }) => main());
