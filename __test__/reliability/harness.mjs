// Runs a server, pairs of clients and a bad network between them, in separate processes, and adds up the results.
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { Random } from './random.mjs';

const MIB = 2 ** 20;

/** Pairs in one process. Each client needs four open files, of the 1,024 that every process may have. */
const PAIRS_PER_PROCESS = 125;

/**
 * Limits that make lanes fill and dead connections end soon. At most half a lane can be in flight, so that the few messages
 * of plain clients always fit: plain clients are not told of rejections.
 */
const SERVER = {
  maxQueuedMessages: 64,
  maxInFlightMessages: 32,
  maxTotalBytes: 128 * MIB,
  maxWriteAhead: 65_536,
  pingInterval: 500,
  headersTimeout: 60_000,
  maxOffences: 1_000_000,
};

const DEFAULTS = {
  /** Relative frequency of the generations of a pair's clients. */
  generations: { '2 2': 7, '1 2': 1, '2 1': 1, '1 1': 1 },
  /** Shortest and longest pause between two faults of one group of connections, in milliseconds. */
  faultEvery: [50, 500],
  /** Average number of reloads of a client's page, and of take-overs by a second page. */
  reloads: 1,
  takeovers: 1,
  /** Share of pairs whose channel is registered only after a message was rejected. */
  late: 0.2,
  /** Milliseconds until a half-open connection ends. On a slow machine plain clients lose messages by it. */
  pingTimeout: 4500,
  /** The way to the relay, see entries.mjs. */
  entry: 'port',
};

/**
 * Runs once and resolves to the result, see score.mjs.
 *
 * @param options.seed - of everything random
 * @param options.pairs - number of pairs of clients, which send to each other
 * @param options.messages - total number of messages
 * @param options.milliseconds - time over which messages are sent
 * @param options.together - number of connections that share their faults
 */
export async function run(options) {
  const { seed, pairs, messages, generations, late, pingTimeout, entry, ...plan } = { ...DEFAULTS, ...options };
  const random = new Random(seed);
  const kinds = Array.from({ length: pairs }, () => {
    const reliable = random.weighted(generations).split(' ').map((generation) => generation === '2');
    // Plain clients are not told of rejections, so they get none.
    return { reliable, late: reliable.every(Boolean) && random.chance(late) };
  });
  const began = Date.now();
  const server = await start('server.mjs', { entry, options: { ...SERVER, pingTimeout }, channels: kinds.map((kind) => !kind.late) });
  const [{ url, ca, clients }] = await once(server, 'message');
  const all = kinds.map((kind, index) => ({ ...kind, clients: clients[index] }));
  const loads = [];
  while (all.length > 0) {
    const part = { url, ca, pairs: all.splice(0, PAIRS_PER_PROCESS), messages: Math.ceil(messages / pairs / 2) };
    loads.push(load({ ...plan, ...part, seed: `${seed}/${loads.length}` }, server));
  }
  const results = await Promise.all(loads);
  server.send({ close: true });
  const [{ errors, rss, echoClient }] = await once(server, 'message');
  return {
    ...{ seed, entry, clients: 2 * pairs, ...results.reduce(add), milliseconds: Date.now() - began },
    ...{ errors, echoClient, rss, rssBound: rss[0] + SERVER.maxTotalBytes + 2 * pairs * SERVER.maxWriteAhead },
  };
}

/** Runs some of the pairs. Resolves to their result. */
async function load(plan, server) {
  const process = await start('load.mjs', plan);
  return new Promise((resolve) => {
    process.on('message', ({ channel, result }) => (result ? resolve(result) : server.send({ channel })));
  });
}

/** Starts a program of this folder with a plan. If it fails, so does this process. */
async function start(program, order) {
  const child = fork(new URL(program, import.meta.url));
  // Not awaited: if it fails, the unhandled rejection ends this process.
  void once(child, 'exit').then(([code, signal]) => assert.equal(code, 0, `${program} ended with ${code ?? signal}`));
  child.send(order);
  return child;
}

function add(one, other) {
  return Object.fromEntries(
    Object.entries(one).map(([name, value]) => {
      if (typeof value === 'number') return [name, value + other[name]];
      return [name, Array.isArray(value) ? [...value, ...other[name]] : add(value, other[name])];
    }),
  );
}
