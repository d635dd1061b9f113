// A room: everyone talks to everyone who is there. node examples/room/server.mjs
import express from 'express';
import RelayServer from 'websocket-relay';
import { files } from '../lib/files.mjs';
import { closeOnSignal, fail, listening, storeBeside } from '../lib/server.mjs';

const app = express();
const server = app.listen(Number(process.env.PORT ?? 3000), (error) => {
  if (error) fail(error);
  console.log(`Open http://localhost:${server.address().port}/ in as many tabs as you like.`);
});
const store = storeBeside(import.meta.url);
const relayServer = new RelayServer({ server, path: '/relay', store });
closeOnSignal(relayServer, server);
app.use(files(import.meta.url));

/** Each of them is a seat, and its number is the id of a client of the relay: a seat is taken as long as that is registered. */
const NAMES = ['Ada', 'Alan', 'Barbara', 'Donald', 'Edsger', 'Grace', 'Ken', 'Radia'];
/** Milliseconds that a seat is kept for a page that is not connected: it reloads, or has not noticed that the server is back. */
const HOLD = 10_000;
const timers = new Map();

app.post('/seat', (request, response) => {
  const taken = Array.from(relayServer.clients(), ({ id }) => id);
  const free = [...NAMES.keys()].filter((id) => !taken.includes(id));
  const id = free.find((id) => NAMES[id] === request.query.name) ?? free[0];
  if (id === undefined) return response.sendStatus(503);
  const { token } = relayServer.registerClient({ id });
  relayServer.registerRelayChannels(id, taken);
  hold(id, HOLD);
  response.json({ id, token, names: NAMES });
});

// 1000: the page has closed its relay. After any other code it may come back.
relayServer.on('disconnect', (id, code) => hold(id, code === 1000 ? 0 : HOLD));

// Those who were here before a restart have as much time to come back.
for (const { id } of relayServer.clients()) hold(id, HOLD);
await listening(relayServer, store);

/** Frees a seat, unless a page connects to it in time. */
function hold(id, time) {
  clearTimeout(timers.get(id));
  timers.set(id, setTimeout(leave, time, id).unref());
}

function leave(id) {
  for (const client of relayServer.clients()) if (client.id === id && !client.connected) relayServer.unregisterClient(id);
}
