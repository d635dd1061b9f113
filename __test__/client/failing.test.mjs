// Connections that cannot be made: what is emitted and printed, with the server's answer and without any token.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import test from 'node:test';
import WebSocketRelay from 'websocket-relay/client';
import WebSocket from 'ws';
import { AUTHENTICATED, start } from './reliable/page.mjs';
import { World } from './model.mjs';
import { startServer } from './server.mjs';

const authentication = { clientId: 0, token: '11ac27cd0c17bd1c7ba9aa4285979aea', reconnectionDelay: 1, reconnectionDelayMax: 1 };
/** Like `once` of node:events, but an 'error' does not reject it. */
const next = (relay, name) => new Promise((resolve) => relay.once(name, resolve));

/** Starts a server that answers every upgrade with a status. Returns its address. */
async function startRefusingServer(t, status) {
  const server = http.createServer();
  server.on('upgrade', (request, socket) => socket.on('error', () => {}).end(`HTTP/1.1 ${status}\r\nconnection: close\r\n\r\n`));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return `127.0.0.1:${server.address().port}`;
}

/** Returns an address where nothing listens. */
async function unusedAddress() {
  const server = http.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return `127.0.0.1:${port}`;
}

test('connectError contains the answer of the server, or why it could not be reached', async (t) => {
  const print = t.mock.method(console, 'warn', () => {});
  for (const [address, path, answer] of [
    [await startRefusingServer(t, '404 Not Found'), '/wrong', 'Unexpected server response: 404'],
    [await startRefusingServer(t, '503 Service Unavailable'), '', 'Unexpected server response: 503'],
    [await unusedAddress(), '', 'connect ECONNREFUSED 127.0.0.1:'],
  ]) {
    const relay = new WebSocketRelay(`ws://${address}${path}`, { ...authentication, WebSocket });
    t.after(() => relay.close());
    relay.on('error', (error) => assert.fail(error)).on('connectError', () => {});
    for (let attempt = 0; attempt < 6; attempt++) {
      const closed = next(relay, 'close');
      const error = await next(relay, 'connectError');
      assert.ok(error instanceof Error);
      assert.equal(error.code, 'ERR_CONNECTION');
      assert.ok(error.message.startsWith(`cannot connect to ws://${address}${path}: ${answer}`), error.message);
      assert.ok(error.cause instanceof Error);
      const info = await closed;
      assert.deepEqual([info.code, info.willReconnect], [1006, true]);
      assert.ok(error.message.endsWith(info.reason));
    }
  }
  assert.equal(print.mock.callCount(), 0, 'nothing is printed if there is a listener');
});

test('prints the first three failures without a listener', async (t) => {
  const print = t.mock.method(console, 'warn', () => {});
  const address = await startRefusingServer(t, '404 Not Found');
  const relay = new WebSocketRelay(`${address}/wrong`, { ...authentication, WebSocket });
  t.after(() => relay.close());
  for (let attempt = 0; attempt < 8; attempt++) await next(relay, 'close');
  const line = `websocket-relay: cannot connect to ws://${address}/wrong: Unexpected server response: 404; trying again`;
  assert.deepEqual(print.mock.calls.map(({ arguments: lines }) => lines), [[line], [line], [line]]);
});

test('prints failures again after a connection was open', async (t) => {
  const print = t.mock.method(console, 'warn', () => {});
  const server = await startServer(t);
  const relay = new WebSocketRelay(server.address, { ...authentication, WebSocket });
  t.after(() => relay.close());
  for (let time = 1; time <= 2; time++) {
    for (let attempt = 0; attempt < 5; attempt++) {
      const closed = next(relay, 'close');
      (await server.connection()).socket.close(1013, 'too many connections');
      await closed;
    }
    assert.equal(print.mock.callCount(), 3 * time);
    const opened = next(relay, 'open');
    const peer = await server.connection();
    peer.socket.send(JSON.stringify({ authenticated: AUTHENTICATED }));
    await opened;
    const closed = next(relay, 'close');
    peer.socket.terminate();
    await closed;
    assert.equal(print.mock.callCount(), 3 * time, 'a lost connection is no failure to connect');
  }
  assert.match(print.mock.calls[0].arguments[0], /: too many connections; trying again$/);
});

test('prints failures of Node\'s own WebSocket', { skip: !globalThis.WebSocket && 'this version of Node has none' }, async (t) => {
  const print = t.mock.method(console, 'warn', () => {});
  const address = await unusedAddress();
  const relay = new WebSocketRelay(address, { ...authentication, WebSocket: globalThis.WebSocket });
  t.after(() => relay.close());
  await next(relay, 'close');
  assert.ok(print.mock.calls[0].arguments[0].startsWith(`websocket-relay: cannot connect to ws://${address}`));
});

test('texts never contain a token from the address', async (t) => {
  const print = t.mock.method(console, 'warn', () => {});
  const address = await startRefusingServer(t, '401 Unauthorized');
  const { token } = authentication;
  const relay = new WebSocketRelay(`ws://user:${token}@${address}/relay?token=${token}`, { ...authentication, WebSocket, reconnectionAttempts: 1 });
  const errors = [];
  relay.on('error', (error) => errors.push(error));
  await new Promise((resolve) => relay.on('close', (info) => info.willReconnect || resolve()));
  const texts = [print.mock.calls[0].arguments[0], errors[0].message, errors[0].stack];
  for (const text of texts) {
    assert.ok(!text.includes(token), text);
    assert.ok(text.includes(`cannot connect to ws://${address}/relay: Unexpected server response: 401`), text);
  }
});

test('a relay that does not reconnect emits the failure as an error', async (t) => {
  const address = await startRefusingServer(t, '404 Not Found');
  for (const options of [{ reliable: false }, { reconnection: false }]) {
    const relay = new WebSocketRelay(address, { ...authentication, WebSocket, ...options });
    relay.on('connectError', () => assert.fail('it does not reconnect'));
    const error = await next(relay, 'error');
    assert.deepEqual([error.code, error.message], ['ERR_CONNECTION', `cannot connect to ws://${address}: Unexpected server response: 404`]);
  }
});

test('in a page, prints nothing about failures without a reason, which the browser prints', async (t) => {
  const print = t.mock.method(console, 'warn', () => {});
  const world = new World(undefined, { location: { protocol: 'http:' } });
  const relay = new world.WebSocketRelay('server', { clientId: 0, token: 'x' });
  world.socket.onerror({});
  const { message } = await next(relay, 'connectError');
  await world.advance(1000);
  assert.equal(message, 'cannot connect to ws://server');
  world.socket.onerror({});
  await world.advance(0);
  assert.equal(print.mock.callCount(), 0);
  await world.advance(2000);
  world.socket.end(1013, 'too many connections');
  assert.equal(print.mock.callCount(), 1, 'a reason of the server is printed');
  relay.close();
});

test('a failing token function causes one error and no connectError', async () => {
  const { world, relay, events } = start({ token: () => Promise.reject(new Error('no')) });
  relay.on('connectError', () => events.push('connectError'));
  world.socket.open();
  await next(relay, 'close');
  assert.deepEqual(events, ['error ERR_TOKEN', 'close 1006 true']);
});
