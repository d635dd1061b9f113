// The relay under attack, in a process of its own: what it does, and what it takes, is its own.
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

/** As users have it. */
const RelayServer = createRequire(import.meta.url)('websocket-relay');

/** How often memory is measured, in milliseconds. */
const MEASURED_EVERY = 20;

let server;
let settings;
/** The http server that the relay is attached to, where it has no port of its own. */
let web;
/** Questions that `verifyClient` was asked. */
let asked = 0;
let enginePriority;
/** Errors by code, the memory that was taken last, and the most that was taken and queued. */
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

/** Gives the threads of this name a real-time priority, where the system lets us. */
function prefer(name, priority) {
  const threads = readdirSync('/proc/self/task').filter((id) => readFileSync(`/proc/self/task/${id}/comm`, 'utf8').trim() === name);
  for (const id of threads) spawnSync('chrt', ['-f', '-p', String(priority), id]);
}

/** Lets everybody in, which takes so many milliseconds for who is not one of the healthy. Who asks for `/never` gets no answer. */
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

/** Whatever a developer may do with many clients. */
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

  /** Clients that all have a channel with each other. */
  registerRoom(count) {
    const room = register(count);
    server.registerRelayChannels(room.map(({ id }) => id));
    return room;
  },

  disconnect(id) {
    return server.disconnectClient(id);
  },

  develop,

  /** Clients of which each has a channel with the first. */
  registerStar(count) {
    const [hub, ...others] = register(count);
    for (const { id } of others) server.registerRelayChannel(hub.id, id);
    return [hub, ...others];
  },

  /** Messages that wait for a client. */
  queuedMessages(id) {
    return [...server.clients()].find((client) => client.id === id).queuedMessages;
  },

  /** Bytes that wait for a client. */
  queued(id) {
    return [...server.clients()].find((client) => client.id === id).queuedBytes;
  },

  /** Another server on the same port, and as many clients and pairs as before; how long it took to close the one before. */
  async restart({ pairs, clients, timeout = 10_000 }) {
    const start = performance.now();
    await server.close({ timeout, retryAfter: 1000 });
    const closedIn = performance.now() - start;
    await listen();
    return { pairs: registerPairs(pairs), clients: register(clients), closedIn };
  },

  /** So many files more may be opened. */
  limitFiles(more) {
    const count = readdirSync('/proc/self/fd').length + more;
    const { status, stderr } = spawnSync('prlimit', ['--pid', String(process.pid), `--nofile=${count}:`], { encoding: 'utf8' });
    if (status !== 0) throw new Error(`prlimit: ${stderr}`);
  },

  /** Whatever comes, the JavaScript thread does nothing for so long. */
  block(milliseconds) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
  },

  /** What it does and takes when JavaScript's garbage is gone, which else goes when V8 finds it worth the while. */
  rest() {
    collectGarbage();
    return this.stats();
  },

  stats() {
    measure();
    const { user, system } = process.cpuUsage();
    return { ...server.stats(), asked, errors, rss: latest, peak, cpu: (user + system) / 1000 };
  },

  /** Forgets what was most. */
  forgetPeak() {
    Object.assign(peak, { rss: 0, queuedBytes: 0 });
  },
});

function measure() {
  try {
    latest = process.memoryUsage.rss();
  } catch (error) {
    // To know it takes a file.
    if (error.code !== 'EMFILE') throw error;
  }
  peak.rss = Math.max(peak.rss, latest);
  peak.queuedBytes = Math.max(peak.queuedBytes, server.stats().queuedBytes);
}
