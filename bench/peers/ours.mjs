// This package with its defaults, except for what the mode says: threads=N, store=DURABILITY, raised (limits), blocked.
import { once } from 'node:events';
import { createRequire } from 'node:module';
import process from 'node:process';
import { count, credentials, introduce, pairs } from './support.mjs';

const modes = process.argv.slice(4);
const valueOf = (name) => modes.find((mode) => mode.startsWith(`${name}=`))?.slice(name.length + 1);
const durability = valueOf('store');
const GIB = 2 ** 30;

const RelayServer = createRequire(import.meta.url)('../..');
const began = performance.now();
const server = new RelayServer({
  port: 0,
  host: '127.0.0.1',
  threads: Number(valueOf('threads') ?? 1),
  ...(credentials && { cert: credentials.cert, key: credentials.key }),
  ...(durability && { store: { path: process.env.BENCH_STORE, durability }, metrics: true }),
  ...(modes.includes('raised') && { maxQueuedMessages: 100_000, maxQueuedBytes: GIB, maxMailboxBytes: GIB, maxTotalBytes: 4 * GIB }),
});
await once(server, 'listening');
const listening = performance.now() - began;
// A store has kept them.
const isNew = server.stats().registered === 0;
const clients = isNew ? registerAll() : [];
introduce(server.address().port, clients.map(({ token }) => token), 'relay', { listening, queued: server.stats().queuedMessages });
process.on('SIGTERM', () => server.close());

if (modes.includes('blocked')) {
  // Blocks the JavaScript thread for five seconds at a time, without using the core.
  setInterval(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5000), 10);
}

function registerAll() {
  const registered = [];
  // At most that many at once.
  while (registered.length < count) registered.push(...server.registerClients(Math.min(count - registered.length, 100_000)));
  for (const [id, other] of pairs()) server.registerRelayChannel(id, other);
  return registered;
}
