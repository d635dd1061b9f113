// What a relay counts, on a live page: node examples/dashboard/server.mjs
import { fileURLToPath } from 'node:url';
import express from 'express';
import RelayServer from 'websocket-relay';
import { talk } from './talk.mjs';

const app = express();
const server = app.listen(process.env.PORT ?? 3000, () => {
  console.log(`Open http://localhost:${server.address().port}/.`);
});
const relayServer = new RelayServer({ server, path: '/relay' });

app.use(express.static(fileURLToPath(new URL('page', import.meta.url))));

// Where strangers can come, ask for a password here.
app.get('/stats', (request, response) => {
  response.set('cache-control', 'no-store').json({ time: performance.now(), ...relayServer.stats() });
});

// Somebody has to talk, for there to be something to see.
relayServer.once('listening', () => {
  const stop = talk(relayServer);
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.once(signal, async () => {
      stop();
      await relayServer.close();
      server.close();
      server.closeAllConnections();
    });
  }
});
