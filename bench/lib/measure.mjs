// Measures a server on one core, with the load generator on another.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { hasPriorities, works } from '../../scripts/process.mjs';

const LOAD = fileURLToPath(new URL('../load/target/release/load', import.meta.url));
const MAX_SECONDS = 60;
/** For a million messages that a store keeps. */
const MAX_FILL_SECONDS = 300;

/** Returns what this machine supports. */
export function conditions() {
  return {
    isPinned: availableParallelism() > 1 && works('taskset', '-c', '0,1', 'true'),
    isRealTime: hasPriorities(),
    files: Number(spawnSync('sh', ['-c', 'ulimit -n'], { encoding: 'utf8' }).stdout) || 1024,
  };
}

const running = new Set();
// Children end with this program.
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

function start(command, core, isRealTime, { isPinned }, stdio, store) {
  const pin = isPinned ? ['taskset', '-c', String(core)] : [];
  const priority = isRealTime ? ['chrt', '-f', '10'] : [];
  const [program, ...args] = [...priority, ...pin, ...command];
  const child = spawn(program, args, { stdio, env: { ...process.env, RUST_BACKTRACE: '0', ...(store && { BENCH_STORE: store }) } });
  running.add(child);
  child.on('close', () => running.delete(child));
  return child;
}

async function firstLine(child) {
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`the server ended with ${code}`);
  });
  ended.catch(() => {});
  const [line] = await Promise.race([once(createInterface(child.stdout), 'line'), ended]);
  return line;
}

/** A server that is measured. */
class Server {
  #child;
  #ended;
  #complaint = '';
  introduction;

  /** Starts it. `store` is the path of the file that it may keep what it has in. */
  static async start(peer, [clients, channels, ...modes], { store, isPriority, machine }) {
    const server = new Server();
    const child = start([...peer.command(clients, channels), ...modes], 0, isPriority, machine, ['ignore', 'pipe', 'pipe'], store);
    child.stderr.setEncoding('utf8').on('data', (text) => (server.#complaint = (server.#complaint + text).slice(-2000)));
    [server.#child, server.#ended] = [child, once(child, 'close')];
    try {
      server.introduction = JSON.parse(await firstLine(child));
    } catch (error) {
      throw server.explained(error);
    }
    return server;
  }

  /** Returns an error with what the server has said of it. */
  explained(error) {
    return new Error([error.message, this.#complaint.trim()].filter(Boolean).join('\n'), { cause: error });
  }

  async end(signal = 'SIGKILL') {
    this.#child.kill(signal);
    await this.#ended;
  }
}

/** Runs the load generator and returns its figures. */
async function runLoad(introduction, peer, scenario, { isPriority, machine, maxSeconds = MAX_SECONDS }) {
  const load = start([LOAD], 1, isPriority, machine, ['pipe', 'pipe', 'pipe']);
  let [figures, problem] = ['', ''];
  load.stdout.setEncoding('utf8').on('data', (text) => (figures += text));
  load.stderr.setEncoding('utf8').on('data', (text) => (problem += text));
  load.stdin.on('error', () => {}).end(JSON.stringify({ server: introduction, generation: peer.generation ?? 1, maxSeconds, scenario }));
  const [code] = await once(load, 'close');
  if (code !== 0) throw new Error(problem.trim() || `the load generator ended with ${code}`);
  return JSON.parse(figures);
}

/** Returns the figures of one run. Throws if the server does not start or a message is lost. */
export async function measure(peer, plan, { registered, channels = 1, isRealTime, machine }) {
  const folder = peer.hasStore ? mkdtempSync(join(process.env.BENCH_DISK ?? tmpdir(), 'websocket-relay-bench-')) : null;
  const around = { isPriority: Boolean(isRealTime && machine.isRealTime), machine, store: folder && join(folder, 'relay.db') };
  const counts = [registered ?? plan.clients + (plan.idle ?? 0), channels];
  try {
    if (plan.kind === 'restart') return await measureRestart(peer, plan, counts, around);
    if (plan.kind === 'registered') return await measureRegistered(peer, counts, around);
    return await measureLoad(peer, plan, counts, around);
  } finally {
    if (folder) rmSync(folder, { recursive: true });
  }
}

async function measureLoad(peer, plan, counts, around) {
  const server = await Server.start(peer, counts, around);
  try {
    const figures = await runLoad(server.introduction, peer, plan, around);
    return { ...figures, ...(peer.hasStore && (await storeFigures(server.introduction))) };
  } catch (error) {
    throw server.explained(error);
  } finally {
    await server.end();
  }
}

/** Fills a store, kills the server and starts it again. */
async function measureRestart(peer, { clients, size, messages }, counts, around) {
  const fill = { kind: 'fill', clients, size, messages };
  const first = await Server.start(peer, [...counts, 'raised'], around);
  try {
    await runLoad(first.introduction, peer, fill, { ...around, maxSeconds: MAX_FILL_SECONDS });
  } catch (error) {
    throw first.explained(error);
  } finally {
    await first.end();
  }
  const bytes = sizeOf(around.store);
  const second = await Server.start(peer, [...counts, 'raised'], around);
  const { listening, queued } = second.introduction;
  await second.end();
  if (queued !== messages) throw new Error(`${queued} messages were kept of ${messages}`);
  return { listening, bytesPerMessage: bytes / messages };
}

/** Compares the file of a server with many clients with that of one with few. */
async function measureRegistered(peer, [clients, channels], around) {
  const sizes = [];
  for (const count of [2, clients]) {
    const server = await Server.start(peer, [count, channels], { ...around, store: `${around.store}-${count}` });
    // It closes, and leaves one file.
    await server.end('SIGTERM');
    sizes.push(sizeOf(`${around.store}-${count}`));
  }
  return { bytesPerClient: (sizes[1] - sizes[0]) / (clients - 2) };
}

/** Returns the bytes of a store, with the files beside it. */
function sizeOf(store) {
  const folder = join(store, '..');
  const files = readdirSync(folder).map((name) => join(folder, name)).filter((path) => path.startsWith(store));
  return files.reduce((sum, path) => sum + statSync(path).size, 0);
}

/** Returns how many of a thousand messages a server has written to its store. */
async function storeFigures({ port }) {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const of = (name) => Number(new RegExp(`^websocket_relay_${name} (\\S+)$`, 'm').exec(text)?.[1]);
  return { committed: (1000 * of('store_committed_messages_total')) / of('relayed_messages_total') };
}
