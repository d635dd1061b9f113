// close() completes within its timeout, whatever the connections do.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import test from 'node:test';
import { openRaw } from './raw.mjs';
import { attach, keepsSockets, listen, placeOf } from './support.mjs';

/** Longer than any test. */
const LONG = 2 ** 31 - 1;

/** Opens a connection that stays open until the server cuts it, and sends frames. */
async function linger(server, ...frames) {
  const socket = openRaw(server);
  await once(socket, 'data');
  frames.forEach((frame) => socket.write(Buffer.from(frame)));
  return socket;
}

/** A binary frame, upon which the server closes the connection. */
const BINARY = [0x82, 0x80, 0, 0, 0, 0];

for (const [name, open] of [
  ['its own port', listen],
  ['an http server', (t, options) => attach(t, http.createServer(), options)],
  ['an http server with bridged sockets', (t, options) => attach(t, keepsSockets(http.createServer()), options)],
]) {
  for (const [way, close] of [
    ['close({ timeout })', (server) => server.close({ timeout: 50 })],
    ['close() and then close({ timeout })', (server) => (server.close(), server.close({ timeout: 50 }))],
    ['close({ timeout }) and then a shorter one', (server) => (server.close({ timeout: LONG }), server.close({ timeout: 50 }))],
  ]) {
    test(`${name}: ${way} cuts connections that are closing or do not close`, async (t) => {
      const server = await open(t, { closeTimeout: LONG });
      const heard = once(server, 'error');
      const sockets = [await linger(server), await linger(server, BINARY)];
      await heard;
      await close(server);
      sockets.forEach((socket) => socket.destroy());
    });
  }

  test(`${name}: close() takes at most closeTimeout`, async (t) => {
    const server = await open(t, { closeTimeout: 50 });
    const sockets = [await linger(server), await linger(server, BINARY)];
    await server.close();
    sockets.forEach((socket) => socket.destroy());
  });

  test(`${name}: rejects requests that are being verified when the server closes`, async (t) => {
    let asked;
    const heard = new Promise((resolve) => (asked = resolve));
    const server = await open(t, { closeTimeout: LONG, headersTimeout: LONG, verifyClient: () => new Promise(() => asked()) });
    const answer = new Promise((resolve) => {
      const { port, pathname } = new URL(placeOf(server).url);
      const headers = { upgrade: 'websocket', connection: 'upgrade', 'sec-websocket-version': 13, 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==' };
      http.get({ port, path: pathname, headers }, (response) => resolve(response.resume().statusCode));
    });
    await heard;
    await server.close({ timeout: 5000 });
    assert.equal(await answer, 503);
    assert.deepEqual(server.stats().turnedAway, { closing: 1 });
  });
}
