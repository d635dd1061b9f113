// The relay under attack, in its own process, so that its CPU time and memory can be measured.
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import v8 from 'node:v8';
import { runInNewContext } from 'node:vm';
import { makeCertificate } from '../tls/certificates.mjs';
import { serve } from './remote.mjs';

v8.setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc');

/** The defaults. */
const RelayServer = createRequire(import.meta.url)('websocket-relay');

/** How often memory is measured, in milliseconds. */
const MEASURED_EVERY = 20;

let server;
let settings;
/** The http server that the relay is attached to, if any. */
let web;
/** Calls of `verifyClient`. */
let asked = 0;
let enginePriority;
/** Errors by code, the last measured memory, and the peaks of memory and queue. */
const errors = {};
let latest = 0;
const peak = { rss: 0, queuedBytes: 0 };

async function listen() {
  const { port, isAttached, question, ...options } = settings;
  if (question) options.verifyClient = (info) => verify(info, question);
  if (isAttached) {
    web = http.createServer();
    server = new RelayServer({ server: web, ...options });
    web.listen(port, '127.0.0.1');
  } else server = new RelayServer({ host: '127.0.0.1', port, ...options });
  server.on('error', ({ code }) => (errors[code] = (errors[code] ?? 0) + 1));
  await once(server, 'listening');
  if (enginePriority && process.platform === 'linux') prefer('websocket-relay', enginePriority);
}

/** Gives the threads of this name a real-time priority, if the system allows it. */
function prefer(name, priority) {
  const threads = readdirSync('/proc/self/task').filter((id) => readFileSync(`/proc/self/task/${id}/comm`, 'utf8').trim() === name);
  for (const id of threads) spawnSync('chrt', ['-f', '-p', String(priority), id]);
}

/** Admits every client, after a delay in milliseconds unless it is a healthy one. `/never` is not decided about. */
function verify({ remoteAddress, req }, { milliseconds }) {
  if (remoteAddress === '127.0.0.1') return true;
  asked += 1;
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
  return req.url === '/never' ? new Promise(() => {}) : true;
}

function register(count) {
  return Array.from({ length: count }, () => server.registerClient());
}

function registerPairs(count) {
  return Array.from({ length: count }, () => {
    const pair = register(2);
    server.registerRelayChannel(pair[0].id, pair[1].id);
    return pair;
  });
}

/** Calls that a developer may make with many clients. */
async function develop({ room, joins, expiring, expiresIn }) {
  const ids = register(room).map(({ id }) => id);
  const channels = server.registerRelayChannels(ids);
  const joined = register(joins).map(({ id }) => {
    const count = server.registerRelayChannels(id, ids);
    ids.push(id);
    server.stats();
    return count;
  });
  server.registerRelayChannels(ids);
  for (const id of ids) server.refreshToken(id);
  const listed = [...server.clients()].filter(({ connected }) => !connected).length;
  if (listed < ids.length) throw new Error(`clients() has ${listed} of ${ids.length}`);
  for (const id of ids) server.unregisterClient(id);
  let expired = 0;
  const all = new Promise((resolve) => {
    server.on('expired', function count() {
      expired += 1;
      if (expired === expiring) resolve(server.off('expired', count));
    });
  });
  for (let n = 0; n < expiring; n += 1) server.registerClient({ expiresIn });
  await all;
  return { channels, joined, expired };
}

serve({
  async open({ options, tls, pairs, engine }) {
    enginePriority = engine;
    const { cert, key } = tls ? makeCertificate() : {};
    settings = { port: 0, ...options, ...(tls && { cert, key }) };
    await listen();
    settings.port = server.address().port;
    setInterval(measure, MEASURED_EVERY);
    return { port: settings.port, ca: cert, pairs: registerPairs(pairs) };
  },

  register,
  registerPairs,

  unregister(clients) {
    for (const { id } of clients) server.unregisterClient(id);
  },

  /** Registers a room of clients. */
  registerRoom(count) {
    const room = register(count);
    server.registerRelayChannels(room.map(({ id }) => id));
    return room;
  },

  disconnect(id) {
    return server.disconnectClient(id);
  },

  develop,

  /** Registers clients that each have a channel with the first. */
  registerStar(count) {
    const [hub, ...others] = register(count);
    for (const { id } of others) server.registerRelayChannel(hub.id, id);
    return [hub, ...others];
  },

  /** Returns the undelivered messages to a client. */
  queuedMessages(id) {
    return [...server.clients()].find((client) => client.id === id).queuedMessages;
  },

  /** Returns the undelivered bytes to a client. */
  queued(id) {
    return [...server.clients()].find((client) => client.id === id).queuedBytes;
  },

  /** Restarts the server on the same port with as many clients and pairs. Returns how long closing took. */
  async restart({ pairs, clients, timeout = 10_000 }) {
    const start = performance.now();
    await server.close({ timeout, retryAfter: 1000 });
    const closedIn = performance.now() - start;
    await listen();
    return { pairs: registerPairs(pairs), clients: register(clients), closedIn };
  },

  /** Limits how many more files may be opened. */
  limitFiles(more) {
    const count = readdirSync('/proc/self/fd').length + more;
    const { status, stderr } = spawnSync('prlimit', ['--pid', String(process.pid), `--nofile=${count}:`], { encoding: 'utf8' });
    if (status !== 0) throw new Error(`prlimit: ${stderr}`);
  },

  /** Blocks the JavaScript thread for a time. */
  block(milliseconds) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
  },

  /** Returns statistics and memory after a garbage collection. */
  rest() {
    collectGarbage();
    return this.stats();
  },

  stats() {
    measure();
    const { user, system } = process.cpuUsage();
    return { ...server.stats(), asked, errors, rss: latest, peak, cpu: (user + system) / 1000 };
  },

  /** Resets the peaks. */
  forgetPeak() {
    Object.assign(peak, { rss: 0, queuedBytes: 0 });
  },
});

function measure() {
  try {
    latest = process.memoryUsage.rss();
  } catch (error) {
    // Reading it takes a file descriptor.
    if (error.code !== 'EMFILE') throw error;
  }
  peak.rss = Math.max(peak.rss, latest);
  peak.queuedBytes = Math.max(peak.queuedBytes, server.stats().queuedBytes);
}
