// The attacks, by name. Each is run by attacker.mjs, against relay.mjs, while healthy.mjs talks.
import { calls } from './calls.mjs';
import { clients } from './clients.mjs';
import { closing } from './closing.mjs';
import { floods } from './floods.mjs';
import { frames } from './frames.mjs';
import { memory } from './memory.mjs';
import { questions } from './verify-queue.mjs';
import { time } from './time.mjs';

export const attacks = { ...frames, ...time, ...floods, ...calls, ...clients, ...memory, ...questions, ...closing };
