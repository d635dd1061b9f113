// A room: everyone talks to everyone who is there. node examples/room/server.mjs
import express from 'express';
import RelayServer from 'websocket-relay';
import { files } from '../lib/files.mjs';
import { closeOnSignal, fail } from '../lib/server.mjs';

const app = express();
const server = app.listen(Number(process.env.PORT ?? 3000), (error) => {
  if (error) fail(error);
  console.log(`Open http://localhost:${server.address().port}/ in as many tabs as you like.`);
});
const relayServer = new RelayServer({ server, path: '/relay' });
closeOnSignal(relayServer, server);
app.use(files(import.meta.url));

const NAMES = ['Ada', 'Alan', 'Barbara', 'Donald', 'Edsger', 'Grace', 'Ken', 'Radia'];
/** Milliseconds in which a page must connect before its seat may be given to another one. */
const HOLD = 10_000;

// A seat is a client of the relay. Each has a channel with every other one.
const seats = NAMES.map((name) => ({ name, id: relayServer.registerClient().id, heldUntil: 0 }));
relayServer.registerRelayChannels(seats.map(({ id }) => id));

app.post('/seat', (request, response) => {
  const free = seats.filter(({ id, heldUntil }) => !relayServer.isConnected(id) && Date.now() > heldUntil);
  const seat = free.find(({ name }) => name === request.query.name) ?? free[0];
  if (!seat) return response.sendStatus(503);
  seat.heldUntil = Date.now() + HOLD;
  const others = seats.filter((other) => other !== seat);
  // Messages that still wait for the page that had this seat are dropped with its channels.
  for (const other of others) relayServer.unregisterRelayChannel(seat.id, other.id);
  relayServer.registerRelayChannels(seat.id, others.map(({ id }) => id));
  response.json({
    id: seat.id,
    name: seat.name,
    // A new token: that of the page before is worth nothing from now on.
    token: relayServer.refreshToken(seat.id),
    others: others.map(({ id, name }) => ({ id, name })),
  });
});

relayServer.on('connection', (clientId) => {
  seats.find(({ id }) => id === clientId).heldUntil = 0;
});
