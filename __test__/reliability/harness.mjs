// Runs a server, pairs of clients and a bad network between them, in separate processes, and adds up the results.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { start, tell } from './processes.mjs';
import { Random } from './random.mjs';
import { freePort, RelayProcess } from './relay.mjs';

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

/** Kills are spread over about this share of the time over which messages are sent. If that was too short, more are sent. */
const KILLING = 0.8;

/** Share of the kills that do not wait until messages are relayed again. Most of these hit the server while it starts. */
const HASTY = 0.2;

const DEFAULTS = {
  /** Relative frequency of the generations of a pair's clients. */
  generations: { '2 2': 7, '1 2': 1, '2 1': 1, '1 1': 1 },
  /** Shortest and longest pause between two faults of one group of connections, in milliseconds. */
  faultEvery: [50, 500],
  /** Average number of reloads of a client's page, and of take-overs by a second page. */
  reloads: 1,
  takeovers: 1,
  /** Average number of times that a client has no page for a while. */
  absences: 0,
  /** Share of pairs whose channel is registered only after a message was rejected. */
  late: 0.2,
  /** Milliseconds until a half-open connection ends. On a slow machine plain clients lose messages by it. */
  pingTimeout: 4500,
  /** The way to the relay, see entries.mjs. */
  entry: 'port',
  /** How often the server is killed and started again. */
  kills: 0,
};

/** What is different if the server is killed. No plain clients: they lose their messages with every connection. */
const WITH_KILLS = { generations: { '2 2': 1 }, absences: 1 };

/**
 * Runs once and resolves to the result, see score.mjs.
 *
 * @param options.seed - of everything random
 * @param options.pairs - number of pairs of clients, which send to each other
 * @param options.messages - total number of messages
 * @param options.milliseconds - time over which messages are sent
 * @param options.together - number of connections that share their faults
 * @param options.kills - number of times that the server is killed, on its own port only
 * @param options.durability - of the server's store; without it, the server has none
 */
export async function run(options) {
  const { seed, pairs, messages, generations, late, pingTimeout, entry, kills, durability, ...plan } = {
    ...DEFAULTS,
    ...(options.kills > 0 && WITH_KILLS),
    ...options,
  };
  const random = new Random(seed);
  const kinds = Array.from({ length: pairs }, () => {
    const reliable = random.weighted(generations).split(' ').map((generation) => generation === '2');
    // Plain clients are not told of rejections, so they get none.
    return { reliable, late: reliable.every(Boolean) && random.chance(late) };
  });
  const began = Date.now();
  const folder = await mkdtemp(join(tmpdir(), 'websocket-relay-'));
  const place = kills > 0 ? { port: await freePort(random.fork(`port ${durability}`)) } : {};
  const store = durability && { path: join(folder, 'relay.db'), durability };
  const server = new RelayProcess({ entry, options: { ...SERVER, pingTimeout, store, ...place }, clients: 2 * pairs });
  const { url, ca, clients } = await server.listening;
  const all = kinds.map((kind, index) => ({ ...kind, clients: clients.slice(2 * index, 2 * index + 2) }));
  server.register(all.filter((pair) => !pair.late).map((pair) => pair.clients.map(({ id }) => id)));
  const loads = [];
  while (all.length > 0) {
    const part = { url, ca, pairs: all.splice(0, PAIRS_PER_PROCESS), messages: Math.ceil(messages / pairs / 2) };
    loads.push(new Load({ ...plan, ...part, kills, seed: `${seed}/${loads.length}` }, server));
  }
  const over = Promise.all(loads.map(({ result }) => result));
  const killed = await killAgainAndAgain(server, random.fork('kills'), { kills, milliseconds: plan.milliseconds }, over);
  for (const load of loads) load.calm();
  const results = await over;
  await server.listening;
  const reports = await server.close();
  await rm(folder, { recursive: true });
  const { rss } = server;
  return {
    ...{ seed, entry, durability, kills: killed, killsLeft: kills - killed, clients: 2 * pairs },
    ...{ ...results.reduce(add), milliseconds: Date.now() - began },
    ...{ errors: reports.map(({ errors }) => errors).reduce(addAll), echoClient: reports.at(-1).echoClient },
    ...{ store: reports.at(-1).store, rss, rssBound: rss[0] + SERVER.maxTotalBytes + 2 * pairs * SERVER.maxWriteAhead },
  };
}

/** Kills the server at random moments and starts it again. Resolves to the number of kills. */
async function killAgainAndAgain(server, random, { kills, milliseconds }, over) {
  const longest = (2 * KILLING * milliseconds) / kills;
  let isOver = false;
  const ends = over.then(() => (isOver = true));
  for (let killed = 0; killed < kills; killed += 1) {
    if (!random.chance(HASTY)) await Promise.race([server.relaying, ends]);
    await pause(random.between(0, longest));
    if (isOver) return killed;
    await server.kill();
    server.start();
  }
  return kills;
}

/** A process that runs some of the pairs. */
class Load {
  #child;
  /** Resolves to their result. */
  result;

  constructor(plan, server) {
    this.#child = start('load.mjs', plan);
    this.result = new Promise((resolve) => {
      this.#child.on('message', ({ channel, result }) => (result ? resolve(result) : server.register([channel])));
    });
  }

  /** Nothing is killed any more. */
  calm() {
    tell(this.#child, { calm: true });
  }
}

function add(one, other) {
  return Object.fromEntries(
    Object.entries(one).map(([name, value]) => {
      if (typeof value === 'number') return [name, value + other[name]];
      return [name, Array.isArray(value) ? [...value, ...other[name]] : add(value, other[name])];
    }),
  );
}

/** Adds counts whose names may differ. */
function addAll(one, other) {
  const names = new Set([...Object.keys(one), ...Object.keys(other)]);
  return Object.fromEntries(Array.from(names, (name) => [name, (one[name] ?? 0) + (other[name] ?? 0)]));
}
