// `npm run record` plays all behaviours to the published 0.3.3 and records the outcomes.
import { writeFileSync } from 'node:fs';
import behaviours from './behaviours.mjs';
import { play } from './player.mjs';

const outcomes = await play('websocket-relay-0.3.3', behaviours);
const lines = Object.entries(outcomes).map(([name, outcome]) => ` ${JSON.stringify(name)}: ${JSON.stringify(outcome)}`);
writeFileSync(new URL('recorded-0.3.3.json', import.meta.url), `{\n${lines.join(',\n')}\n}\n`);
console.log(`${behaviours.length} behaviours recorded.`);
