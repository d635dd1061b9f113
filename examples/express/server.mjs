// One port for everything, with Express: the page, the client, an API, and the relay. node examples/express/server.mjs
import express from 'express';
import RelayServer from 'websocket-relay';
import { files } from '../lib/files.mjs';
import { closeOnSignal, fail } from '../lib/server.mjs';

const app = express();
const server = app.listen(Number(process.env.PORT ?? 3000), (error) => {
  if (error) fail(error);
  console.log(`Open http://localhost:${server.address().port}/ in two tabs.`);
});
const relayServer = new RelayServer({ server, path: '/relay' });
closeOnSignal(relayServer, server);
app.use(files(import.meta.url));

/** Milliseconds in which a page must connect before its seat may be given to another one. */
const HOLD = 10_000;
/** Clients of the relay, each in a pair with another one. */
const seats = [];

app.post('/seat', (request, response) => {
  const seat = seats.find(isFree) ?? addPair();
  seat.heldUntil = Date.now() + HOLD;
  // A new token: that of the page that had the seat before is worth nothing from now on.
  response.json({ id: seat.id, token: relayServer.refreshToken(seat.id), otherId: seat.otherId });
});

function isFree({ id, heldUntil }) {
  return !relayServer.isConnected(id) && Date.now() > heldUntil;
}

function addPair() {
  const [first, second] = [relayServer.registerClient(), relayServer.registerClient()];
  relayServer.registerRelayChannel(first.id, second.id);
  seats.push({ id: first.id, otherId: second.id, heldUntil: 0 }, { id: second.id, otherId: first.id, heldUntil: 0 });
  return seats.at(-2);
}
