// A room: everybody talks to everybody who is there. node examples/room/server.mjs
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import express from 'express';
import RelayServer from 'websocket-relay';

const require = createRequire(import.meta.url);
const app = express();
const server = app.listen(process.env.PORT ?? 3000, () => {
  console.log(`Open http://localhost:${server.address().port}/ in as many tabs as you like.`);
});
const relayServer = new RelayServer({ server, path: '/relay' });

app.use(express.static(fileURLToPath(new URL('page', import.meta.url))));

app.get('/websocket_relay.min.js', (request, response) => {
  response.sendFile(require.resolve('websocket-relay/dist/websocket_relay.min.js'));
});

const NAMES = ['Ada', 'Alan', 'Barbara', 'Donald', 'Edsger', 'Grace', 'Ken', 'Radia'];
/** A page that was given a seat has so many milliseconds to connect before another may be given it. */
const HOLD = 10_000;

// A seat is a client of the relay; each has a channel with each other one.
const seats = NAMES.map((name) => ({ name, id: relayServer.registerClient().id, heldUntil: 0 }));
relayServer.registerRelayChannels(seats.map(({ id }) => id));

app.post('/seat', (request, response) => {
  const seat = seats.find(({ id, heldUntil }) => !relayServer.isConnected(id) && Date.now() > heldUntil);
  if (!seat) return response.sendStatus(503);
  seat.heldUntil = Date.now() + HOLD;
  const others = seats.filter((other) => other !== seat);
  // What still waits for the one who sat here before is not for this one, and ends with the channels.
  for (const other of others) relayServer.unregisterRelayChannel(seat.id, other.id);
  relayServer.registerRelayChannels(seat.id, others.map(({ id }) => id));
  response.json({
    id: seat.id,
    name: seat.name,
    // Nor does the token that the one before had open anything now.
    token: relayServer.refreshToken(seat.id),
    others: others.map(({ id, name }) => ({ id, name })),
  });
});

relayServer.on('connection', (clientId) => {
  seats.find(({ id }) => id === clientId).heldUntil = 0;
});

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, async () => {
    await relayServer.close();
    server.close();
    server.closeAllConnections();
  });
}
