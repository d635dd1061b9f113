// Creating a relay: its parameters, the addresses it accepts, and the frames it sends first.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import test from 'node:test';
import WebSocketRelay, { RelayChannel } from 'websocket-relay/client';
import { startServer } from './server.mjs';

const token = '11ac27cd0c17bd1c7ba9aa4285979aea';
const authentication = { clientId: 0, token, reliable: false };
const authenticationFrame = { authentication: { clientId: 0, token } };

class NoSocket {
  constructor(url) {
    NoSocket.url = url;
  }
}
const urlOf = (address) => {
  new WebSocketRelay(address, { ...authentication, WebSocket: NoSocket });
  return NoSocket.url;
};

test('names a missing parameter', () => {
  const missing = (message, ...args) => {
    assert.throws(() => new WebSocketRelay(...args), (error) => error.constructor === Error && error.message === message, message);
  };
  for (const nothing of [undefined, null]) {
    missing('first parameter is required', nothing, authentication);
    missing('second parameter is required', 'localhost:1', nothing);
    missing('clientId property is required in authentication object', 'localhost:1', { clientId: nothing, token: 'x' });
    missing('token property is required in authentication object', 'localhost:1', { clientId: 0, token: nothing });
  }
  missing('first parameter is required');
  missing('second parameter is required', 'localhost:1');
});

test('names a parameter of the wrong type and never shows a token', () => {
  const wrong = (name, message, ...args) => assert.throws(() => new WebSocketRelay(...args), { name, message });
  wrong('TypeError', 'address must be a string, not number', 4000, authentication);
  wrong('TypeError', 'clientId must be a number, not string', 'localhost:1', { ...authentication, clientId: '0' });
  wrong('TypeError', 'clientId must be a number, not bigint', 'localhost:1', { ...authentication, clientId: 0n });
  for (const clientId of [-1, 0.5, NaN, Infinity, 2 ** 53]) {
    wrong('RangeError', `clientId must be a safe integer >= 0, not ${clientId}`, 'localhost:1', { ...authentication, clientId });
  }
  wrong('TypeError', 'token must be a string, not number', 'localhost:1', { clientId: 0, token: 123456 });
  wrong('TypeError', 'token must be a string, not object', 'localhost:1', { clientId: 0, token: ['secret'] });
  wrong('TypeError', 'callback must be a function, not string', 'localhost:1', authentication, 'callback');
});

test('createChannel refuses invalid ids', () => {
  const relay = new WebSocketRelay('localhost:1', { ...authentication, WebSocket: NoSocket });
  for (const id of [undefined, null, '1', {}, 1n]) {
    assert.throws(() => relay.createChannel(id), { name: 'TypeError', message: /^targetClientId must be a number, not / });
  }
  for (const id of [-1, 1.5, NaN, 2 ** 53]) {
    assert.throws(() => relay.createChannel(id), { name: 'RangeError', message: `targetClientId must be a safe integer >= 0, not ${id}` });
  }
});

test('accepts every form of address', (t) => {
  assert.equal(urlOf('localhost:4000'), 'ws://localhost:4000');
  assert.equal(urlOf('[::1]:4000'), 'ws://[::1]:4000');
  assert.equal(urlOf('httpd.example'), 'ws://httpd.example');
  assert.equal(urlOf('ws://example/relay?room=1'), 'ws://example/relay?room=1');
  assert.equal(urlOf('wss://example:444/'), 'wss://example:444/');
  assert.equal(urlOf('http://example/relay'), 'ws://example/relay');
  assert.equal(new URL(urlOf('HTTPS://example/https')).href, 'wss://example/https');

  t.after(() => delete globalThis.location);
  globalThis.location = { protocol: 'https:' };
  assert.equal(urlOf('example:443'), 'wss://example:443');
  assert.equal(urlOf('http://example'), 'ws://example');
  globalThis.location = { protocol: 'http:' };
  assert.equal(urlOf('example:80'), 'ws://example:80');
  globalThis.location = { protocol: 'file:' };
  assert.equal(urlOf('example:80'), 'ws://example:80');
});

test('leaves invalid addresses to the WebSocket to refuse', () => {
  for (const address of ['', 'ftp://localhost', 'a b']) {
    assert.throws(() => new WebSocketRelay(address, authentication), { name: 'SyntaxError' });
  }
});

test('authenticates, then sends queued messages, then calls back', async (t) => {
  const server = await startServer(t);
  const events = [];
  const relay = new WebSocketRelay(`http://${server.address}/relay`, authentication, function () {
    assert.equal(this, relay);
    events.push('callback');
    channel.send('from the callback');
  });
  const channel = relay.createChannel(1);
  const other = relay.createChannel(2);
  relay.on('open', () => {
    events.push('relay');
    other.send('from open');
  });
  for (const one of [channel, other]) {
    one.on('open', () => {
      events.push('channel');
      one.send('from open of the channel');
    });
  }
  channel.send('first');
  other.send('second');
  channel.send('third');
  channel.send('');

  const peer = await server.connection();
  assert.equal(peer.url, '/relay');
  const frames = [];
  while (frames.length < 9) frames.push(JSON.parse(await peer.frame()));
  const relays = [
    [1, 'first'],
    [1, 'third'],
    [1, ''],
    [2, 'second'],
    [1, 'from the callback'],
    [2, 'from open'],
    [1, 'from open of the channel'],
    [2, 'from open of the channel'],
  ];
  assert.deepEqual(frames, [authenticationFrame, ...relays.map(([targetId, message]) => ({ relay: { targetId, message } }))]);
  assert.deepEqual(events, ['callback', 'relay', 'channel', 'channel']);
  relay.close();
});

test('returns one channel per client, which opens once', async (t) => {
  const server = await startServer(t);
  const opened = [];
  const listenTo = (id) => relay.createChannel(id).on('open', () => opened.push(id));
  const relay = new WebSocketRelay(server.address, authentication, () => listenTo(2));
  const first = listenTo(1);
  assert.equal(relay.createChannel(1), first);
  assert.ok(first instanceof RelayChannel);
  assert.notEqual(relay.createChannel(0), first);
  await once(relay, 'open');
  const late = listenTo(3);
  assert.ok(!opened.includes(3), 'not before listeners could be added');
  await once(late, 'open');
  assert.equal(relay.createChannel(3), late);
  await once(relay.createChannel(4), 'open');
  assert.deepEqual(opened.toSorted(), [1, 2, 3]);
  relay.close();
});

test('a channel does not open if the relay was closed meanwhile', async (t) => {
  const server = await startServer(t);
  const relay = new WebSocketRelay(server.address, authentication);
  const opened = () => assert.fail('opened');
  relay.createChannel(1).on('open', opened);
  relay.on('open', () => {
    relay.createChannel(2).on('open', opened);
    relay.close();
  });
  await once(relay, 'close');
  relay.createChannel(3).on('open', opened);
  await new Promise(setImmediate);
});

test('sends strings of every kind unchanged', async (t) => {
  const server = await startServer(t);
  const relay = new WebSocketRelay(server.address, authentication);
  const channel = relay.createChannel(1);
  const strings = ['', '"\\', '\0', '\u2028', '😀', '\ud800', 'x'.repeat(1e6)];
  strings.forEach((string) => channel.send(string));
  const peer = await server.connection();
  await peer.frame();
  for (const string of strings) assert.equal(JSON.parse(await peer.frame()).relay.message, string);
  relay.close();
});

test('refuses to send anything but strings', () => {
  const channel = new WebSocketRelay('localhost:1', { ...authentication, WebSocket: NoSocket }).createChannel(1);
  for (const wrong of [undefined, null, 5, {}, Buffer.from('x')]) {
    assert.throws(() => channel.send(wrong), { name: 'TypeError', message: `message must be a string, not ${typeof wrong}` });
  }
});

test('queues ten thousand messages per channel before the connection and refuses one more', async () => {
  const relay = new WebSocketRelay('localhost:1', { ...authentication, WebSocket: NoSocket });
  const errors = [];
  relay.on('error', (error) => errors.push(error));
  for (let i = 0; i < 10_000; i++) assert.equal(relay.createChannel(1).send('x'), i + 1);
  const refused = await new Promise((resolve) => assert.equal(relay.createChannel(1).send('x', resolve), 0));
  assert.deepEqual([refused.code, refused.targetId], ['ERR_QUEUE_FULL', 1]);
  assert.deepEqual(errors, [refused]);
});
