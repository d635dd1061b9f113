// socket.io, with WebSockets only.
import { once } from 'node:events';
import { createServer } from 'node:http';
import { Server } from 'socket.io';
import { introduce, randomTokens, Relay } from './support.mjs';

const tokens = randomTokens();
const relay = new Relay(tokens, (socket, message) => socket.emit('relay', message));
const http = createServer();
const server = new Server(http, { transports: ['websocket'], maxHttpBufferSize: 2 ** 21 });
server.on('connection', (socket) => {
  const id = relay.authenticate(socket, socket.handshake.auth);
  socket.on('relay', ({ targetId, message }) => relay.relay(id, targetId, message));
  socket.on('disconnect', () => relay.leave(id, socket));
});
http.listen(0, '127.0.0.1');
await once(http, 'listening');
introduce(http.address().port, tokens, 'socket-io');
