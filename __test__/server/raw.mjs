// Bytes of requests and frames, for tests that write them to sockets directly.
import net from 'node:net';
import { placeOf } from './support.mjs';

/** An upgrade request. */
export function upgradeRequest(target = '/') {
  return [
    `GET ${target} HTTP/1.1`,
    'Host: localhost',
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    '\r\n',
  ].join('\r\n');
}

/** A text frame with JSON, masked with zeros. */
export function jsonFrame(value) {
  const payload = Buffer.from(JSON.stringify(value));
  const length = payload.length < 126 ? [0x80 | payload.length] : [0x80 | 126, payload.length >> 8, payload.length & 0xff];
  return Buffer.concat([Buffer.from([0x81, ...length, 0, 0, 0, 0]), payload]);
}

export function authenticationFrame({ id, token }) {
  return jsonFrame({ authentication: { clientId: id, token } });
}

/** A connection that sends an upgrade request when it opens, and never closes its side by itself. */
export function openRaw(server) {
  const { port, pathname } = new URL(placeOf(server).url);
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  socket.on('error', () => {});
  socket.write(upgradeRequest(pathname));
  return socket;
}
