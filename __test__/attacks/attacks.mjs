// The attacks, by name. attacker.mjs runs each against relay.mjs, while the clients of healthy.mjs communicate.
import { calls } from './calls.mjs';
import { clients } from './clients.mjs';
import { closing } from './closing.mjs';
import { floods } from './floods.mjs';
import { frames } from './frames.mjs';
import { memory } from './memory.mjs';
import { verifyQueue } from './verify-queue.mjs';
import { time } from './time.mjs';

export const attacks = { ...frames, ...time, ...floods, ...calls, ...clients, ...memory, ...verifyQueue, ...closing };
