// ws with bufferutil, which it finds by itself.
import { once } from 'node:events';
import { WebSocketServer } from 'ws';
import { introduce, randomTokens, Relay } from './support.mjs';

const tokens = randomTokens();
const relay = new Relay(tokens, (socket, message) => socket.send(JSON.stringify({ relay: message })));
const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
server.on('connection', (socket) => {
  let id;
  socket.on('message', (data) => {
    const frame = JSON.parse(data);
    if (frame.authentication) id = relay.authenticate(socket, frame.authentication);
    else if (frame.relay && id !== undefined) relay.relay(id, frame.relay.targetId, frame.relay.message);
  });
  socket.on('close', () => relay.leave(id, socket));
  socket.on('error', () => {});
});
await once(server, 'listening');
introduce(server.address().port, tokens);
