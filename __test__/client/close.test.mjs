// How plain connections end, closed by the application or the server, and the events that follow.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import test from 'node:test';
import WebSocketRelay from 'websocket-relay/client';
import { startServer } from './server.mjs';

const authentication = { clientId: 0, token: 'x', reliable: false };

/** Returns a relay and the list of its events, as `open`, `error CODE: text` and `close CODE reason`. */
function observe(address) {
  const relay = new WebSocketRelay(address, authentication);
  const events = [];
  relay.on('open', () => events.push('open'));
  relay.on('error', (error) => events.push(`error ${error.code}: ${error.message}`));
  relay.on('close', ({ code, reason }) => events.push(`close ${code} ${reason}`));
  return { relay, events };
}

/** Like `once` of node:events, but an 'error' does not reject it. */
const closed = (relay) => new Promise((resolve) => relay.once('close', resolve));

test('close() closes the connection once, with code 1000', async (t) => {
  const server = await startServer(t);
  const { relay, events } = observe(server.address);
  await once(relay, 'open');
  const peer = await server.connection();
  relay.close();
  relay.close();
  assert.deepEqual(await peer.closed, { code: 1000, reason: '' });
  if (events.length < 2) await closed(relay);
  relay.close();
  await new Promise(setImmediate);
  assert.deepEqual(events, ['open', 'close 1000 ']);
});

test('close() passes a code and a reason on, and throws if the WebSocket does', async (t) => {
  const server = await startServer(t);
  const { relay, events } = observe(server.address);
  await once(relay, 'open');
  assert.throws(() => relay.close(99));
  relay.createChannel(1).send('still open');
  const peer = await server.connection();
  relay.close(4500, 'bye');
  assert.deepEqual(await peer.closed, { code: 4500, reason: 'bye' });
  assert.equal(peer.frames.length, 2);
  if (events.length < 2) await closed(relay);
  assert.deepEqual(events, ['open', 'close 4500 bye'], 'closing is no error');
});

test('close() works while connecting', async (t) => {
  const server = await startServer(t);
  const { relay, events } = observe(server.address);
  relay.createChannel(1).send('never sent');
  relay.close();
  assert.throws(() => relay.createChannel(1).send('x'), { code: 'ERR_CLOSED' });
  await closed(relay);
  await new Promise(setImmediate);
  assert.equal(events.length, 1);
  assert.match(events[0], /^close 1006 /);
});

for (const [code, reason, error] of [
  [1009, 'message too big', 'ERR_MESSAGE_TOO_BIG'],
  [4500, 'incorrect token', 'ERR_INCORRECT_TOKEN'],
  [4501, 'replaced by a newer connection', 'ERR_REPLACED'],
  [4502, 'unregistered', 'ERR_UNREGISTERED'],
  [4503, 'token expired', 'ERR_TOKEN_EXPIRED'],
  [4504, 'too many offences', 'ERR_TOO_MANY_OFFENCES'],
]) {
  test(`close code ${code} emits an error and a close`, async (t) => {
    const server = await startServer(t);
    const { relay, events } = observe(server.address);
    const peer = await server.connection();
    peer.socket.close(code, reason);
    await closed(relay);
    assert.deepEqual(events, ['open', `error ${error}: ${reason}`, `close ${code} ${reason}`]);
  });
}

test('a server that stops or has no room causes no error', async (t) => {
  const server = await startServer(t);
  for (const code of [1000, 1001, 1012, 1013, 4000]) {
    const { relay, events } = observe(server.address);
    (await server.connection()).socket.close(code, 'x');
    await closed(relay);
    assert.deepEqual(events, ['open', `close ${code} x`]);
  }
});

test('a lost connection emits an error and a close', async (t) => {
  const server = await startServer(t);
  const { relay, events } = observe(server.address);
  (await server.connection()).socket.terminate();
  await closed(relay);
  assert.deepEqual(events, ['open', 'error ERR_CONNECTION: no connection', 'close 1006 ']);
});

test('an unreachable server causes an error and a close', async () => {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  const { relay, events } = observe(`127.0.0.1:${port}`);
  await closed(relay);
  assert.equal(events.length, 2);
  assert.match(events[0], /^error ERR_CONNECTION: ./);
  assert.match(events[1], /^close 1006 /);
  assert.throws(() => relay.createChannel(1).send('x'), { code: 'ERR_CLOSED' });
  relay.close();
  await new Promise(setImmediate);
  assert.equal(events.length, 2);
});

test('send() throws when the relay is closed and while the server closes it', async (t) => {
  const server = await startServer(t);
  const { relay } = observe(server.address);
  const channel = relay.createChannel(1);
  await once(relay, 'open');
  (await server.connection()).socket.close(1001);
  const ended = closed(relay);
  // Messages are sent until the client has seen the server's close; later ones are refused.
  let refused;
  while (!refused) {
    try {
      channel.send('x');
    } catch (error) {
      refused = error;
    }
    await new Promise(setImmediate);
  }
  assert.equal(refused.code, 'ERR_CLOSED');
  await ended;
  assert.throws(() => channel.send('x'), { name: 'Error', code: 'ERR_CLOSED' });
});

test('an error without a listener is printed and not thrown', async (t) => {
  const print = t.mock.method(console, 'error', () => {});
  const server = await startServer(t);
  const relay = new WebSocketRelay(server.address, authentication);
  (await server.connection()).socket.close(4500, 'incorrect token');
  await closed(relay);
  assert.equal(print.mock.calls[0].arguments[0].code, 'ERR_INCORRECT_TOKEN');
});
