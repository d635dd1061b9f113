// This package with its defaults, except for the number of threads.
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { count, credentials, introduce, pairs } from './support.mjs';

const mode = process.argv[4];
const threads = mode?.startsWith('threads=') ? Number(mode.slice('threads='.length)) : 1;

const RelayServer = createRequire(import.meta.url)('../..');
const server = new RelayServer({ port: 0, host: '127.0.0.1', threads, ...(credentials && { cert: credentials.cert, key: credentials.key }) });
const clients = Array.from({ length: count }, () => server.registerClient());
for (const [id, other] of pairs()) server.registerRelayChannel(id, other);
await once(server, 'listening');
introduce(server.address().port, clients.map(({ token }) => token));

if (mode === 'blocked') {
  // Blocks the JavaScript thread for five seconds at a time, without using the core.
  setInterval(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5000), 10);
}
