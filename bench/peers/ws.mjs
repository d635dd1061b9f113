// ws with bufferutil, which it loads by itself.
import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import { WebSocketServer } from 'ws';
import { credentials, introduce, randomTokens, Relay } from './support.mjs';

const tokens = randomTokens();
const relay = new Relay(tokens, (socket, message) => socket.send(JSON.stringify({ relay: message })));
const server = credentials ? https.createServer(credentials) : http.createServer();
new WebSocketServer({ server }).on('connection', (socket) => {
  let id;
  socket.on('message', (data) => {
    const frame = JSON.parse(data);
    if (frame.authentication) id = relay.authenticate(socket, frame.authentication);
    else if (frame.relay && id !== undefined) relay.relay(id, frame.relay.targetId, frame.relay.message);
  });
  socket.on('close', () => relay.leave(id, socket));
  socket.on('error', () => {});
});
await once(server.listen(0, '127.0.0.1'), 'listening');
introduce(server.address().port, tokens);
