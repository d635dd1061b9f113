// How a reliable relay connects and authenticates, first and again.
import assert from 'node:assert/strict';
import test from 'node:test';
import { settled, World } from '../model.mjs';
import { AUTHENTICATED, start } from './page.mjs';

test('authenticates and at once sends outstanding messages, by channel and in order', async () => {
  const { world, relay, relayed } = start();
  const [one, two] = [relay.createChannel(1), relay.createChannel(2)];
  assert.deepEqual([one.send('a'), two.send('b'), one.send('c')], [1, 1, 2]);
  world.socket.open();
  await settled();
  const [{ authentication }] = world.socket.sent;
  assert.match(authentication.session, /^[0-9a-f]{16}$/);
  assert.deepEqual(authentication, {
    clientId: 0, token: 'x', version: 2, session: authentication.session, connection: 1, receipts: true, presence: true,
  });
  assert.deepEqual(relayed(), ['1:a:1', '1:c:2', '2:b:1']);
  // Also before the answer.
  one.send('d');
  assert.deepEqual(relayed().slice(3), ['1:d:3']);
});

test('emits open for each connection and calls the callback once, without arguments', async () => {
  const calls = [];
  const world = new World();
  const relay = new world.WebSocketRelay('server', { clientId: 0, token: 'x' }, function (...args) {
    calls.push(['callback', this === relay, ...args]);
  });
  const channel = relay.createChannel(1).on('open', () => calls.push(['channel']));
  relay.on('open', (info) => {
    calls.push(['open', info.resumed]);
    if (calls.length === 2) relay.createChannel(2).on('open', () => calls.push(['late']));
  });
  for (const resumed of [false, true]) {
    world.socket.open();
    await settled();
    assert.equal(channel.online, false);
    world.socket.receive({ authenticated: { ...AUTHENTICATED, resumed } });
    await settled();
    world.socket.end();
    await world.advance(1000);
  }
  assert.deepEqual(calls, [['callback', true], ['open', false], ['channel'], ['late'], ['open', true], ['channel'], ['late']]);
  assert.equal(world.sockets[2].readyState, 0);
});

test('calls the token function for each connection and after the token has expired', async () => {
  let tokens = 0;
  const { world, connect, events } = start({ token: async () => `token ${++tokens}` });
  await connect();
  world.socket.end(1006);
  await world.advance(1000);
  await connect();
  world.socket.end(4503, 'token expired');
  await world.advance(1000);
  await connect();
  assert.deepEqual(world.sockets.map(({ sent }) => sent[0].authentication.token), ['token 1', 'token 2', 'token 3']);
  assert.deepEqual(events, ['open false', 'close 1006 true', 'open false', 'close 4503 true', 'open false']);
});

test('a failing token function causes an error and another attempt', async () => {
  const answers = [() => { throw new Error('no'); }, () => Promise.reject(new Error('nor')), () => 5, () => undefined, () => Promise.reject(undefined), () => 'x'];
  const { world, relay, connect, events } = start({ token: () => answers.shift()(), reconnectionDelayMax: 1000 });
  const causes = [];
  relay.on('error', ({ cause }) => causes.push(cause?.message));
  for (let attempt = 0; attempt < 5; attempt++) {
    world.socket.open();
    await settled();
    assert.equal(world.socket.readyState, 2);
    assert.equal(world.socket.sent.length, 0);
    await world.advance(1000);
  }
  await connect();
  assert.deepEqual(events, [...Array(5).fill(['error ERR_TOKEN', 'close 1006 true']).flat(), 'open false']);
  assert.deepEqual(causes.slice(0, 4), ['no', 'nor', 'token must be a string, not number', 'token must be a string, not undefined']);
});

test('a token that arrives after its connection has ended is not used', async () => {
  const gates = [];
  const { world, relay } = start({ token: () => new Promise((resolve) => gates.push(resolve)) });
  world.socket.open();
  await settled();
  world.socket.end();
  await world.advance(1000);
  world.socket.open();
  await settled();
  gates[0]('old');
  await settled();
  assert.deepEqual(world.sockets.map(({ sent }) => sent.length), [0, 0]);
  relay.close();
  gates[1]('new');
  await settled();
  assert.equal(world.socket.sent.length, 0);
});

test('abandons a connection that is not open and authenticated within 20 seconds', async () => {
  for (const opens of [false, true]) {
    const { world, events } = start();
    if (opens) world.socket.open();
    await world.advance(20_000);
    assert.deepEqual(events, []);
    await world.advance(500);
    assert.deepEqual(events, ['close 1006 true']);
    assert.equal(world.socket.readyState, 2, 'closed, although it will never report that');
    await world.advance(1000);
    assert.equal(world.sockets.length, 2);
    world.sockets[0].end();
    assert.equal(events.length, 1);
  }
});

test('checks options, which may be passed in every position', () => {
  const world = new World();
  const make = (...args) => new world.WebSocketRelay('server', { clientId: 0, token: 'x' }, ...args);
  const wrong = (name, message, options) => {
    for (const args of [[options], [undefined, options], [null, options], [() => {}, options]]) {
      assert.throws(() => make(...args), (error) => error.name === name && error.message === message, message);
    }
  };
  wrong('TypeError', 'reliable must be a boolean, not number', { reliable: 1 });
  wrong('TypeError', 'reconnection must be a boolean, not string', { reconnection: 'no' });
  wrong('TypeError', 'reconnectionDelay must be a number, not string', { reconnectionDelay: '1' });
  wrong('RangeError', 'reconnectionDelay must be from 0 to 2147483647, not -1', { reconnectionDelay: -1 });
  wrong('RangeError', 'reconnectionDelayMax must be from 0 to 2147483647, not Infinity', { reconnectionDelayMax: Infinity });
  wrong('RangeError', 'randomizationFactor must be from 0 to 1, not 1.5', { randomizationFactor: 1.5 });
  wrong('RangeError', 'reconnectionAttempts must be from 0 to Infinity, not NaN', { reconnectionAttempts: NaN });
  wrong('TypeError', 'WebSocket must be a function, not object', { WebSocket: {} });
  assert.equal(world.sockets.length, 0);
  assert.equal(world.timers, 0);
  make(null);
  make(undefined, null);
  make({ reconnection: undefined, reconnectionDelay: null });
  make(() => {}, { reliable: true });
  assert.equal(world.sockets.length, 4);
});
