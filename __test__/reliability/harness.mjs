// Runs a server, pairs of clients and a bad network between them, each in processes of their own, and adds up the result.
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { Random } from './random.mjs';

const MIB = 2 ** 20;

/** Pairs of one process: each client has four open files there, and 1,024 are what a process may have at least. */
const PAIRS_PER_PROCESS = 125;

/**
 * Lanes that get full, and connections whose death is noticed soon, but not before they have begun. No more than half a lane can be on its way, so that the
 * few messages that plain clients have on theirs always find room: they are not told of a refusal.
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
  /** Which generations the clients of a pair are of, and how often, compared with one another. */
  generations: { '2 2': 7, '1 2': 1, '2 1': 1, '1 1': 1 },
  /** The shortest and the longest pause, in milliseconds, between two faults of one group of connections. */
  faultEvery: [50, 500],
  /** How often the page of a client reloads, and how often a second page takes over from the first; both on average. */
  reloads: 1,
  takeovers: 1,
  /** The share of pairs whose channel is not registered before something was refused. */
  late: 0.2,
  /** Milliseconds until a connection that is half-open is given up. A plain client that the machine keeps waiting loses then. */
  pingTimeout: 4500,
  /** How the clients come in: see entries.mjs. */
  entry: 'port',
};

/**
 * Runs once, and resolves to what came of it: see score.mjs.
 *
 * @param options.seed - whatever is random comes of it
 * @param options.pairs - of clients; each sends to the other
 * @param options.messages - in all
 * @param options.milliseconds - over which the clients spread what they send
 * @param options.together - how many connections share their faults
 */
export async function run(options) {
  const { seed, pairs, messages, generations, late, pingTimeout, entry, ...plan } = { ...DEFAULTS, ...options };
  const random = new Random(seed);
  const kinds = Array.from({ length: pairs }, () => {
    const reliable = random.weighted(generations).split(' ').map((generation) => generation === '2');
    // Plain clients are not told when what they send is refused, so theirs is not.
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

/** Runs a part of the pairs; resolves to what came of them. */
async function load(plan, server) {
  const process = await start('load.mjs', plan);
  return new Promise((resolve) => {
    process.on('message', ({ channel, result }) => (result ? resolve(result) : server.send({ channel })));
  });
}

/** Starts a program of this folder and tells it what to do. If it fails, so does this process. */
async function start(program, order) {
  const child = fork(new URL(program, import.meta.url));
  // What it was told to do it does to the end, or this is over: a rejection that nobody awaits ends the process.
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
