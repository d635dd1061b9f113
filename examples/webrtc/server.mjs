// Pairs up the pages that come, so that they can call each other: node examples/webrtc/server.mjs
import { randomUUID } from 'node:crypto';
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

/** Milliseconds after which a call whose pages have both vanished without a word is forgotten. */
const LONGEST_CALL = 12 * 3_600_000;
/** The response that a page waits for until another one comes. */
let waiting;

app.post('/call', (request, response) => {
  if (waiting) {
    connect(waiting, response);
    waiting = undefined;
    return;
  }
  waiting = response;
  response.on('close', () => waiting === response && (waiting = undefined));
  // The page knows by this that the server is there. Headers alone would not do: Firefox waits for the body to begin.
  response.type('json').write('\n');
});

function connect(firstResponse, secondResponse) {
  // A call is known by its name in the `data` of its two clients: the store keeps both.
  const data = { call: randomUUID() };
  const [first, second] = [1, 2].map(() => relayServer.registerClient({ data, expiresIn: LONGEST_CALL }));
  relayServer.registerRelayChannel(first.id, second.id);
  firstResponse.end(JSON.stringify({ ...first, otherId: second.id, polite: true }));
  secondResponse.json({ ...second, otherId: first.id, polite: false });
}

// 1000 or 1001: a page has hung up or was left, which ends the call for both. A page whose connection broke (1006) reconnects.
relayServer.on('disconnect', (clientId, code, reason, data) => {
  if (code !== 1000 && code !== 1001) return;
  for (const { id, data: other } of relayServer.clients()) if (other?.call === data?.call) relayServer.unregisterClient(id);
});

await listening(relayServer, store);
