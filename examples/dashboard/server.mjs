// What a relay counts, on a live page: node examples/dashboard/server.mjs
import express from 'express';
import RelayServer from 'websocket-relay';
import { files } from '../lib/files.mjs';
import { closeOnSignal, fail } from '../lib/server.mjs';
import { talk } from './talk.mjs';

const app = express();
const server = app.listen(Number(process.env.PORT ?? 3000), (error) => {
  if (error) fail(error);
  console.log(`Open http://localhost:${server.address().port}/.`);
});
const relayServer = new RelayServer({ server, path: '/relay' });
app.use(files(import.meta.url));

// Ask for a password here if strangers can reach it.
app.get('/stats', (request, response) => {
  response.set('cache-control', 'no-store').json({ time: performance.now(), ...relayServer.stats() });
});

// Some clients that talk, so that there is something to see.
relayServer.once('listening', () => {
  const stop = talk(relayServer);
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, stop);
  closeOnSignal(relayServer, server);
});
