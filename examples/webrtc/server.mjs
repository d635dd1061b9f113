// Pairs up the pages that come, so that they can call each other: node examples/webrtc/server.mjs
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import express from 'express';
import RelayServer from 'websocket-relay';

const require = createRequire(import.meta.url);
const app = express();
const server = app.listen(process.env.PORT ?? 3000, () => {
  console.log(`Open http://localhost:${server.address().port}/ in two tabs.`);
});
const relayServer = new RelayServer({ server, path: '/relay' });

app.use(express.static(fileURLToPath(new URL('page', import.meta.url))));

app.get('/websocket_relay.min.js', (request, response) => {
  response.sendFile(require.resolve('websocket-relay/dist/websocket_relay.min.js'));
});

/** The answer that the first of a pair waits for. */
let waiting;

app.post('/call', (request, response) => {
  if (!waiting) {
    waiting = response;
    response.on('close', () => {
      if (waiting === response) waiting = undefined;
    });
    return;
  }
  const call = [];
  const [first, second] = [1, 2].map(() => relayServer.registerClient({ data: call }));
  call.push(first.id, second.id);
  relayServer.registerRelayChannel(first.id, second.id);
  waiting.json({ ...first, otherId: second.id, polite: true });
  response.json({ ...second, otherId: first.id, polite: false });
  waiting = undefined;
});

// 1001: a page was left, which ends the call for both. A connection that broke off, 1006, is made again by its page.
relayServer.on('disconnect', (clientId, code, reason, call) => {
  if (code === 1001) for (const id of call?.splice(0) ?? []) relayServer.unregisterClient(id);
});

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, async () => {
    await relayServer.close();
    server.close();
    server.closeAllConnections();
  });
}
