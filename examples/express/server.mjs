// One port for everything, with Express: the page, the client, an API, and the relay. node examples/express/server.mjs
import { setTimeout as sleep } from 'node:timers/promises';
import express from 'express';
import RelayServer from 'websocket-relay';
import { files } from '../lib/files.mjs';
import { closeOnSignal, fail, listening, storeBeside } from '../lib/server.mjs';

const app = express();
const server = app.listen(Number(process.env.PORT ?? 3000), (error) => {
  if (error) fail(error);
  console.log(`Open http://localhost:${server.address().port}/ in two tabs.`);
});
const store = storeBeside(import.meta.url);
const relayServer = new RelayServer({ server, path: '/relay', store });
closeOnSignal(relayServer, server);
app.use(files(import.meta.url));

/** Milliseconds in which a page must connect before its seat may be given to another one. */
const HOLD = 10_000;
/** Milliseconds in which pages come back after a restart. */
const RETURN = 3_000;

// A seat is a client of the relay. Two make a pair: the clients 0 and 1, 2 and 3, and so on.
const seats = Array.from(relayServer.clients(), ({ id }) => ({ id, heldUntil: 0 }));
const areBack = seats.length > 0 ? sleep(RETURN, undefined, { ref: false }) : undefined;

app.post('/seat', async (request, response) => {
  await areBack;
  const seat = seats.find(isFree) ?? addPair();
  seat.heldUntil = Date.now() + HOLD;
  const otherId = seat.id ^ 1;
  // An existing channel stays.
  relayServer.registerRelayChannels([seat.id, otherId]);
  // A new token: that of the page that had the seat before is worth nothing from now on.
  response.json({ id: seat.id, token: relayServer.refreshToken(seat.id), otherId });
});

await listening(relayServer, store);

function isFree({ id, heldUntil }) {
  return !relayServer.isConnected(id) && Date.now() > heldUntil;
}

function addPair() {
  // Both or none, whenever the process ends.
  seats.push(...relayServer.registerClients(2).map(({ id }) => ({ id, heldUntil: 0 })));
  return seats.at(-2);
}
