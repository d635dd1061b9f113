// One port for everything, with Express: the page, the client, an API, and the relay. node examples/express/server.mjs
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

/** The second of a pair, while the first waits for somebody to talk to. */
let free;

app.post('/seat', (request, response) => {
  const me = free ?? relayServer.registerClient();
  const other = free?.other ?? relayServer.registerClient();
  if (free) {
    free = undefined;
  } else {
    relayServer.registerRelayChannel(me.id, other.id);
    free = { ...other, other: me };
  }
  response.json({ id: me.id, token: me.token, otherId: other.id });
});

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, async () => {
    await relayServer.close();
    server.close();
    server.closeAllConnections();
  });
}
