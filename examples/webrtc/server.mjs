// Pairs up the pages that come, so that they can call each other: node examples/webrtc/server.mjs
import { randomUUID } from 'node:crypto';
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

/** The responses that pages wait for, by call. Pages that are in no call yet wait for each other. */
const waiting = new Map();

app.post('/call', (request, response) => {
  // Pages name the call that they are in if this server was restarted during it.
  const call = request.query.id ?? 'new';
  const other = waiting.get(call);
  if (other) {
    waiting.delete(call);
    connect(other, response);
    return;
  }
  waiting.set(call, response);
  response.on('close', () => waiting.get(call) === response && waiting.delete(call));
  // The page knows by this that the server is there. Headers alone would not do: Firefox waits for the body to begin.
  response.type('json').write('\n');
});

function connect(firstResponse, secondResponse) {
  const call = { id: randomUUID(), clientIds: [] };
  const [first, second] = [1, 2].map(() => relayServer.registerClient({ data: call }));
  call.clientIds.push(first.id, second.id);
  relayServer.registerRelayChannel(first.id, second.id);
  firstResponse.end(JSON.stringify({ ...first, otherId: second.id, polite: true, callId: call.id }));
  secondResponse.json({ ...second, otherId: first.id, polite: false, callId: call.id });
}

// 1000 or 1001: a page has hung up or was left, which ends the call for both. A page whose connection broke (1006) reconnects.
relayServer.on('disconnect', (clientId, code, reason, call) => {
  if (code === 1000 || code === 1001) for (const id of call?.clientIds.splice(0) ?? []) relayServer.unregisterClient(id);
});
