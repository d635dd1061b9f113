// `npm run torture:timing` checks that response times reveal neither unknown ids nor parts of a token. Attempts of all kinds
// alternate in random order; two kinds are the same, to show what chance alone does.
import { once } from 'node:events';
import net from 'node:net';
import { parseArgs } from 'node:util';
import RelayServer from 'websocket-relay';
import { Random } from '../reliability/random.mjs';
import { authenticationFrame, upgradeRequest } from './raw.mjs';

const { values } = parseArgs({ options: { attempts: { type: 'string', default: '20000' }, seed: { type: 'string', default: '1' } } });
const attempts = Number(values.attempts);
const random = new Random(values.seed);

/** Registered ids of four digits are tried, and as many unregistered ones. */
const [FIRST, UNKNOWN] = [1000, 2000];

const server = new RelayServer({ port: 0, host: '127.0.0.1' });
await once(server, 'listening');
const clients = Array.from({ length: UNKNOWN }, () => server.registerClient()).slice(FIRST);
const { port } = server.address();

/** Returns a token with another digit at a position. */
const wrong = (token, place) => token.slice(0, place) + (token[place] === '0' ? '1' : '0') + token.slice(place + 1);
const kinds = {
  'the first digit wrong': ({ id, token }) => ({ id, token: wrong(token, 0) }),
  'the first digit wrong, again': ({ id, token }) => ({ id, token: wrong(token, 0) }),
  'the last digit wrong': ({ id, token }) => ({ id, token: wrong(token, 31) }),
  'an unknown id': ({ id, token }) => ({ id: id - FIRST + UNKNOWN, token: wrong(token, 0) }),
};

/** Returns the microseconds from a wrong authentication to the response. */
async function attempt({ id, token }) {
  const socket = net.connect(port, '127.0.0.1').setNoDelay(true);
  socket.write(upgradeRequest());
  await once(socket, 'data');
  const bytes = authenticationFrame({ id, token });
  const start = process.hrtime.bigint();
  socket.write(bytes);
  await once(socket, 'data');
  const time = Number(process.hrtime.bigint() - start) / 1000;
  socket.resetAndDestroy();
  return time;
}

const times = Object.fromEntries(Object.keys(kinds).map((kind) => [kind, []]));
for (let n = 0; n < attempts; n += 1) {
  const order = Object.keys(kinds).map((kind) => [random.next(), kind]).sort(([a], [b]) => a - b);
  for (const [, kind] of order) times[kind].push(await attempt(kinds[kind](random.pick(clients))));
}
server.close();

/** Returns the Mann-Whitney U statistic of two samples, in standard deviations. */
function deviations(one, other) {
  const all = [...one.map((time) => [time, 1]), ...other.map((time) => [time, 0])].sort(([a], [b]) => a - b);
  const ranks = all.reduce((sum, [, is], rank) => sum + is * (rank + 1), 0);
  const [n, m] = [one.length, other.length];
  return (ranks - (n * (n + m + 1)) / 2) / Math.sqrt((n * m * (n + m + 1)) / 12);
}

const [reference] = Object.values(times);
console.log(`${attempts} attempts of each kind; microseconds to the response: quartiles, and deviation from the first kind`);
for (const [kind, list] of Object.entries(times)) {
  const sorted = [...list].sort((a, b) => a - b);
  const quartiles = [0.25, 0.5, 0.75].map((part) => sorted[Math.floor(part * sorted.length)].toFixed(1).padStart(8)).join('');
  console.log(`${quartiles}  ${deviations(list, reference).toFixed(2).padStart(6)} standard deviations  ${kind}`);
}
