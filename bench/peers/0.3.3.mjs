// websocket-relay 0.3.3 as published, with one `return` added: without it a connection is no longer authenticated after its first
// message.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import Module, { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { count, introduce, pairs } from './support.mjs';

const FORGOTTEN = 'relay(relayClient, message.relay.targetId, message.relay.message, relayServer);';

const require = createRequire(import.meta.url);
const load = Module._extensions['.js'];
let isFound = false;
Module._extensions['.js'] = (module, path) => {
  if (!/websocket-relay-0\.3\.3\/lib\/server\b/.test(path)) return load(module, path);
  const source = readFileSync(path, 'utf8');
  isFound ||= source.includes(FORGOTTEN);
  module._compile(source.replace(FORGOTTEN, `${FORGOTTEN} return relayClient;`), path);
};
const RelayServer = require('websocket-relay-0.3.3');
if (!isFound) throw new Error('The source of 0.3.3 has changed.');

// It does not expose its port, so it gets one that was free a moment ago.
const probe = createServer().listen(0);
await once(probe, 'listening');
const { port } = probe.address();
await new Promise((resolve) => probe.close(resolve));
const server = new RelayServer({ port }, () => introduce(port, clients.map(({ token }) => token)));
server.on('error', (error) => {
  throw new Error(error);
});
const clients = Array.from({ length: count }, () => server.registerClient());
for (const [id, other] of pairs()) server.registerRelayChannel(id, other);
