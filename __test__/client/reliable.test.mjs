// One relay of generation 2 and a server that does what a test tells it to, in a time that passes when told to.
import assert from 'node:assert/strict';
import test from 'node:test';
import { random, settled, World } from './model.mjs';

const AUTHENTICATED = { clientId: 0, epoch: 'e1', resumed: false, pingInterval: 25_000, pingTimeout: 20_000, maxPayload: 1_048_576 };

/** A relay, its world, and what its listeners were called with. */
function start(options, more) {
  const world = new World(more?.chance);
  const events = [];
  const relay = new world.WebSocketRelay('server', { clientId: 0, token: 'x', ...options });
  for (const name of ['open', 'close', 'error']) {
    relay.on(name, (info) => events.push(name === 'error' ? `error ${info.code}` : name === 'open' ? `open ${info.resumed}` : `close ${info.code} ${info.willReconnect}`));
  }
  /** Opens and authenticates the latest socket. */
  const connect = async (members) => {
    world.socket.open();
    await settled();
    world.socket.say({ authenticated: { ...AUTHENTICATED, ...members } });
    await settled();
  };
  /** The relay frames of the latest socket, as `targetId:message:seq`, with `!` if first. */
  const relayed = () => world.socket.sent.filter(({ relay }) => relay).map(({ relay: { targetId, message, seq, first } }) => `${targetId}:${message}:${seq}${first ? '!' : ''}`);
  const received = () => world.socket.sent.filter((frame) => frame.received).map((frame) => frame.received);
  const relayTo = (offset, message = String(offset), senderId = 1) => world.socket.say({ relay: { senderId, message, offset } });
  return { world, relay, events, connect, relayed, received, relayTo };
}

/** A callback that remembers how it was called. */
function spy() {
  const calls = [];
  return Object.assign((error) => calls.push(error?.code ?? 'ok'), { calls });
}

test('authenticates for generation 2, and at once sends what is outstanding, by channel and in order', async () => {
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
  // Before there is an answer too.
  one.send('d');
  assert.deepEqual(relayed().slice(3), ['1:d:3']);
});

test('opens with each connection, the callback once and with nothing', async () => {
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
    world.socket.say({ authenticated: { ...AUTHENTICATED, resumed } });
    await settled();
    world.socket.end();
    await world.pass(1000);
  }
  assert.deepEqual(calls, [['callback', true], ['open', false], ['channel'], ['late'], ['open', true], ['channel'], ['late']]);
  assert.equal(world.sockets[2].readyState, 0);
});

test('on a new connection sends again what was not accepted, tells the epoch, and keeps the session', async () => {
  const { world, relay, connect, relayed, events } = start();
  const channel = relay.createChannel(1);
  const [a, b, c] = [spy(), spy(), spy()];
  await connect();
  channel.send('a', a);
  channel.send('b', b);
  channel.send('c', c);
  world.socket.say({ accepted: { targetId: 1, seq: 1 } });
  assert.deepEqual([a.calls, b.calls], [['ok'], []]);
  world.socket.end(1006);
  channel.send('d');
  await world.pass(1000);
  await connect({ resumed: true });
  const [first, second] = world.sockets.map(({ sent }) => sent[0].authentication);
  assert.deepEqual(second, { ...first, connection: 2, epoch: 'e1' });
  assert.deepEqual(relayed(), ['1:b:2', '1:c:3', '1:d:4']);
  world.socket.say({ accepted: { targetId: 1, seq: 4 } });
  assert.deepEqual([a.calls, b.calls, c.calls], [['ok'], ['ok'], ['ok']]);
  assert.equal(channel.bufferedAmount, 0);
  assert.deepEqual(events, ['open false', 'close 1006 true', 'open true']);
});

test('passes over acceptances of the past, of the future and of strangers', async () => {
  const { world, relay, connect } = start();
  const channel = relay.createChannel(1);
  await connect();
  const callback = spy();
  channel.send('a', callback);
  channel.send('b', callback);
  for (const accepted of [{ targetId: 1, seq: 3 }, { targetId: 2, seq: 1 }, { targetId: 1, seq: 0 }, { targetId: 1 }, { targetId: 1, seq: null }, {}, 5]) {
    world.socket.say({ accepted });
  }
  assert.deepEqual([callback.calls.length, channel.bufferedAmount], [0, 2]);
  world.socket.say({ accepted: { targetId: 1, seq: 1 } }, { accepted: { targetId: 1, seq: 1 } }, { accepted: { targetId: 1, seq: 2 } });
  assert.deepEqual(callback.calls, ['ok', 'ok']);
});

test('a channel is told once which of its messages have expired, and the others stay outstanding', async () => {
  const { world, relay, connect, relayed, events } = start();
  const channel = relay.createChannel(1);
  const [a, b, c] = [spy(), spy(), spy()];
  const told = [];
  channel.on('expired', (...args) => told.push(args));
  await connect();
  channel.send('a', a);
  channel.send('b', b);
  channel.send('c', c);
  const expired = (seq, last, notice) => [
    { accepted: { targetId: 1, seq: last } },
    { rejected: { targetId: 1, seq, last, notice, code: 'ERR_MESSAGE_EXPIRED', message: 'too late' } },
  ];
  world.socket.say(...expired(1, 2, 1));
  assert.deepEqual([told, a.calls, b.calls, c.calls], [[[1, 2]], ['ok'], ['ok'], []]);
  world.socket.end();
  await world.pass(1000);
  await connect({ resumed: true });
  // That it was accepted was lost with the connection, and it has expired meanwhile.
  channel.send('d');
  world.socket.say(...expired(1, 2, 1), ...expired(3, 3, 2), ...expired(3, 3, 2));
  assert.deepEqual([told, c.calls, channel.bufferedAmount], [[[1, 2], [3, 3]], ['ok'], 1]);
  assert.deepEqual(relayed(), ['1:c:3', '1:d:4'], 'nothing begins anew');
  world.socket.end();
  await world.pass(1000);
  await connect({ resumed: false, epoch: 'e2' });
  world.socket.say(...expired(4, 4, 1));
  assert.deepEqual(told, [[1, 2], [3, 3], [4, 4]], 'another server counts anew');
  assert.ok(!events.some((event) => event.startsWith('error')), 'expired is no error');
});

test('a hold: waits, sends all that is outstanding again, the oldest as the first; what comes meanwhile queues', async () => {
  const { world, relay, connect, relayed } = start();
  const channel = relay.createChannel(1);
  const other = relay.createChannel(2);
  await connect();
  for (const message of ['a', 'b', 'c']) channel.send(message);
  world.socket.say({ accepted: { targetId: 1, seq: 1 } }, { hold: { targetId: 1, seq: 2, retryAfter: 250 } });
  channel.send('d');
  other.send('x');
  await world.pass(249);
  assert.deepEqual(relayed(), ['1:a:1', '1:b:2', '1:c:3', '2:x:1'], 'a held channel holds up no other');
  await world.pass(1);
  assert.deepEqual(relayed().slice(4), ['1:b:2!', '1:c:3', '1:d:4']);
  channel.send('e');
  assert.deepEqual(relayed().slice(7), ['1:e:5']);
  // Again, with nothing taken.
  world.socket.say({ hold: { targetId: 1, seq: 2, retryAfter: 0 } });
  await world.pass(0);
  assert.deepEqual(relayed().slice(8), ['1:b:2!', '1:c:3', '1:d:4', '1:e:5']);
});

test('a hold that does not say for how long lasts no time', async () => {
  for (const retryAfter of [undefined, null, 'soon', -1, {}]) {
    const { world, relay, connect, relayed } = start();
    await connect();
    relay.createChannel(1).send('a');
    world.socket.say({ hold: { targetId: 1, seq: 1, retryAfter } });
    await world.pass(0);
    assert.deepEqual(relayed(), ['1:a:1', '1:a:1!'], `${retryAfter}`);
  }
});

test('a hold ends with its connection: the next starts with nothing refused', async () => {
  const { world, relay, connect, relayed } = start();
  const channel = relay.createChannel(1);
  await connect();
  channel.send('a');
  world.socket.say({ hold: { targetId: 1, seq: 1, retryAfter: 10_000 } });
  channel.send('b');
  world.socket.end();
  await world.pass(1000);
  await connect({ resumed: true });
  assert.deepEqual(relayed(), ['1:a:1', '1:b:2']);
  await world.pass(20_000);
  assert.equal(relayed().length, 2);
});

test('holds that make no sense change nothing', async () => {
  const { world, relay, connect, relayed } = start();
  const channel = relay.createChannel(1);
  await connect();
  channel.send('a');
  world.socket.say({ accepted: { targetId: 1, seq: 1 } });
  for (const seq of [0, 1, 2, 99]) world.socket.say({ hold: { targetId: 1, seq, retryAfter: 9 } }, { rejected: { targetId: 1, seq, code: 'ERR', message: '' } });
  channel.send('b');
  assert.deepEqual(relayed(), ['1:a:1', '1:b:2']);
});

test('a rejection fails all that is outstanding on the channel, and the next message is the first', async () => {
  const { world, relay, connect, relayed, events } = start();
  const channel = relay.createChannel(1);
  const other = relay.createChannel(2);
  await connect();
  const [accepted, failed, elsewhere] = [spy(), spy(), spy()];
  const errors = [];
  relay.on('error', (error) => errors.push(error));
  channel.send('a', accepted);
  channel.send('b', failed);
  channel.send('c', failed);
  other.send('x', elsewhere);
  const drained = [];
  channel.on('drain', () => drained.push(channel.bufferedAmount));
  world.socket.say({ accepted: { targetId: 1, seq: 1 } }, { rejected: { targetId: 1, seq: 2, code: 'ERR_CHANNEL_NOT_REGISTERED', message: 'no channel' } });
  assert.deepEqual([accepted.calls, failed.calls, elsewhere.calls], [['ok'], ['ERR_CHANNEL_NOT_REGISTERED', 'ERR_CHANNEL_NOT_REGISTERED'], []]);
  assert.deepEqual(errors.map(({ code, message, targetId }) => [code, message, targetId]), [['ERR_CHANNEL_NOT_REGISTERED', 'no channel', 1]]);
  assert.deepEqual([drained, events.length], [[0], 2]);
  assert.equal(channel.send('d'), 4, 'a number is never used twice');
  channel.send('e');
  assert.deepEqual(relayed().slice(4), ['1:d:4!', '1:e:5']);
  // Another connection has refused nothing.
  world.socket.say({ rejected: { targetId: 1, seq: 4, code: 'ERR_CHANNEL_NOT_REGISTERED', message: '' } });
  world.socket.end();
  await world.pass(1000);
  await connect({ resumed: true });
  channel.send('f');
  assert.deepEqual(relayed(), ['2:x:1', '1:f:6']);
});

test('the outbox is bounded in messages and in characters, and says when it is empty', async () => {
  const { world, relay, connect, events } = start();
  const [one, two] = [relay.createChannel(1), relay.createChannel(2)];
  for (let n = 1; n <= 10_000; n++) assert.equal(one.send(''), n);
  const refused = spy();
  assert.equal(one.send('', refused), 0);
  assert.equal(two.send('x'.repeat(4 * 2 ** 20)), 1);
  assert.equal(two.send('y', refused), 0);
  assert.deepEqual([one.bufferedAmount, two.bufferedAmount, refused.calls.length], [0, 4 * 2 ** 20, 0]);
  await settled();
  assert.deepEqual(refused.calls, ['ERR_QUEUE_FULL', 'ERR_QUEUE_FULL']);
  assert.deepEqual(events, ['error ERR_QUEUE_FULL', 'error ERR_QUEUE_FULL']);
  await connect();
  let drained = 0;
  two.on('drain', () => drained++);
  world.socket.say({ accepted: { targetId: 2, seq: 1 } }, { accepted: { targetId: 1, seq: 10_000 } });
  assert.deepEqual([drained, two.bufferedAmount], [1, 0]);
  assert.equal(two.send('y'), 2);
  assert.equal(one.send('z'), 10_001);
});

test('hands over each message once, and acknowledges what a listener has', async () => {
  const { world, relay, connect, received, relayTo } = start();
  await connect();
  const heard = [];
  relay.createChannel(1).on('message', (message) => heard.push(message));
  for (const offset of [3, 4, 4, 3, 7]) relayTo(offset);
  assert.deepEqual(heard, ['3', '4', '7']);
  assert.deepEqual(received(), [], 'not for each');
  await world.pass(50);
  assert.deepEqual(received(), [{ senderId: 1, offset: 7 }]);
  // What is sent takes the acknowledgement along.
  relayTo(9);
  world.socket.say({ ping: {} });
  assert.deepEqual(world.socket.sent.slice(-2), [{ received: { senderId: 1, offset: 9 } }, { pong: {} }]);
  await world.pass(1000);
  assert.equal(received().length, 2);
});

test('acknowledges after 32 messages or 256 Ki characters, and when a timer is late', async () => {
  const { world, relay, connect, received, relayTo } = start();
  await connect();
  for (const sender of [1, 2, 3]) relay.createChannel(sender).on('message', () => {});
  for (let offset = 1; offset <= 64; offset++) relayTo(offset, '', 1 + (offset % 2));
  assert.deepEqual(received(), [{ senderId: 2, offset: 31 }, { senderId: 1, offset: 32 }, { senderId: 2, offset: 63 }, { senderId: 1, offset: 64 }]);
  relayTo(65, 'x'.repeat(2 ** 18), 3);
  assert.deepEqual(received().slice(4), [{ senderId: 3, offset: 65 }]);
  relayTo(66);
  world.sleep(60);
  relayTo(67);
  assert.deepEqual(received().slice(5), [{ senderId: 1, offset: 67 }]);
});

test('what waits for a listener is not acknowledged, comes again on the next connection, and is heard once', async () => {
  const { world, relay, connect, received, relayTo } = start();
  await connect();
  for (const offset of [1, 2, 3]) relayTo(offset);
  await world.pass(1000);
  assert.deepEqual(received(), []);
  world.socket.end();
  await world.pass(1000);
  const heard = [];
  const channel = relay.createChannel(1);
  // Between two connections one message is heard.
  channel.once('message', (message) => heard.push(message));
  await settled();
  await connect({ resumed: true });
  await world.pass(50);
  assert.deepEqual(received(), [], 'this connection has not sent it yet');
  for (const offset of [1, 2, 3, 4]) relayTo(offset);
  await world.pass(50);
  assert.deepEqual(received(), [{ senderId: 1, offset: 1 }]);
  channel.on('message', (message) => heard.push(message));
  await settled();
  await world.pass(50);
  assert.deepEqual(heard, ['1', '2', '3', '4']);
  assert.deepEqual(received().slice(1), [{ senderId: 1, offset: 4 }]);
});

test('another epoch: offsets start anew, what waits is still heard and never acknowledged', async () => {
  const { world, relay, connect, received, relayTo, events } = start();
  await connect();
  const heard = [];
  relay.createChannel(1).on('message', (message) => heard.push(message));
  relayTo(10);
  relayTo(11, 'waits', 2);
  world.socket.end();
  await world.pass(1000);
  await connect({ epoch: 'e2' });
  relayTo(1);
  relayTo(2, 'new', 2);
  relay.createChannel(2).on('message', (message) => heard.push(message));
  await settled();
  await world.pass(50);
  assert.deepEqual(heard, ['10', '1', 'waits', 'new']);
  assert.deepEqual(received(), [{ senderId: 1, offset: 1 }, { senderId: 2, offset: 2 }]);
  assert.deepEqual(events, ['open false', 'close 1006 true', 'open false']);
  world.socket.end();
  await world.pass(1000);
  world.socket.open();
  await settled();
  assert.equal(world.socket.sent[0].authentication.epoch, 'e2');
});

test('a listener that throws has its message', async () => {
  const { world, relay, connect, received, relayTo } = start();
  await connect();
  relay.createChannel(1).on('message', () => {
    throw new Error('over');
  });
  relay.createChannel(2).send('x', () => {
    throw new Error('out');
  });
  relayTo(1);
  world.socket.say({ accepted: { targetId: 2, seq: 1 } });
  await world.pass(50);
  assert.deepEqual(received(), [{ senderId: 1, offset: 1 }]);
  assert.deepEqual(world.uncaught.map(({ message }) => message), ['over', 'out']);
});

test('says who is there, and what the others have', async () => {
  const { world, relay, connect } = start();
  const channel = relay.createChannel(1);
  const events = [];
  for (const name of ['join', 'leave']) channel.on(name, () => events.push(`${name} ${channel.online}`));
  channel.on('delivered', (seq) => events.push(seq));
  await connect();
  const presence = (clientId, online) => world.socket.say({ presence: { clientId, online } });
  presence(1, false);
  presence(1, true);
  presence(1, true);
  presence(2, true);
  assert.equal(relay.createChannel(2).online, true);
  presence(1, false);
  presence(1, true);
  for (const message of ['a', 'b', 'c']) channel.send(message);
  for (const seq of [1, 1, 3, 2, 9]) world.socket.say({ delivered: { targetId: 1, seq } });
  world.socket.end();
  assert.deepEqual(events, ['join true', 'leave false', 'join true', 1, 3, 'leave false']);
});

test('frames that come early, late or not at all understood do no harm', async () => {
  const { world, relay, connect, events, relayTo } = start();
  const heard = [];
  relay.createChannel(1).on('message', (message) => heard.push(message));
  world.socket.open();
  await settled();
  relayTo(1, 'before it is authenticated');
  world.socket.say({ ping: {} }, { presence: { clientId: 1, online: true } });
  world.socket.say({ authenticated: AUTHENTICATED });
  for (const frame of ['', 'null', '5', '"x"', '[]', '{"relay":null}', '{"relay":{}}', '{"hold":null}', '{"rejected":5}', '{"authenticated":{}}', '{"later":{}}', '{"relay":{"senderId":1,"message":"x","offset":"9"}}']) {
    world.socket.say(frame);
  }
  assert.equal(world.socket.sent.length, 1);
  relayTo(1);
  const [old] = world.sockets;
  old.end();
  await world.pass(1000);
  await connect({ resumed: true });
  const before = [...events];
  old.say({ relay: { senderId: 1, message: 'late', offset: 2 } }, { ping: {} }, { error: { code: 'ERR_X', message: '' } });
  old.end(4501);
  old.onerror({});
  old.onopen({});
  await settled();
  assert.deepEqual([heard, events, world.sockets.length], [['1'], before, 2]);
  world.socket.say({ error: { code: 'ERR_UNRECOGNIZED_MESSAGE', message: 'what?' } });
  assert.equal(events.at(-1), 'error ERR_UNRECOGNIZED_MESSAGE');
});

for (const code of [1000, 1001, 1005, 1006, 1011, 1012, 4000, 4001, 4002, 4499]) {
  test(`comes back after ${code}`, async () => {
    const { world, connect, events } = start();
    await connect();
    world.socket.end(code);
    assert.deepEqual(events, ['open false', `close ${code} true`]);
    await world.pass(1000);
    assert.equal(world.sockets.length, 2);
  });
}

for (const [code, error] of [[1003], [1007], [1009, 'ERR_MESSAGE_TOO_BIG'], [4500, 'ERR_INCORRECT_TOKEN'], [4501, 'ERR_REPLACED'], [4502, 'ERR_UNREGISTERED'], [4503, 'ERR_TOKEN_EXPIRED'], [4504, 'ERR_TOO_MANY_OFFENCES'], [4999]]) {
  test(`stops at ${code}, and fails what is outstanding`, async () => {
    const { world, relay, connect, events } = start();
    await connect();
    const callback = spy();
    const channel = relay.createChannel(1);
    channel.send('a', callback);
    world.socket.end(code);
    assert.deepEqual(callback.calls, ['ERR_CLOSED']);
    assert.deepEqual(events, ['open false', ...(error ? [`error ${error}`] : []), `close ${code} false`]);
    assert.equal(channel.bufferedAmount, 0);
    assert.throws(() => channel.send('b'), { code: 'ERR_CLOSED' });
    assert.equal(world.timers, 0);
    for (const listener of world.online) listener();
    await world.pass(100_000);
    assert.equal(world.sockets.length, 1);
    relay.close();
    assert.equal(events.at(-1), `close ${code} false`);
  });
}

test('waits twice as long each time, up to the longest, and anew after it was open', async () => {
  const { world, connect } = start({}, { chance: () => 0 });
  const waits = [];
  for (let attempt = 0; attempt < 6; attempt++) {
    world.socket.end();
    waits.push(world.next - world.now);
    await world.pass(waits.at(-1));
  }
  await connect();
  world.socket.end();
  waits.push(world.next - world.now);
  assert.deepEqual(waits, [1000, 2000, 4000, 5000, 5000, 5000, 1000]);
});

test('draws each wait from a range, later after "too many"', async () => {
  const { world } = start({ reconnectionDelay: 100, reconnectionDelayMax: 8000, randomizationFactor: 1 }, { chance: random(1) });
  for (let attempt = 0; attempt < 200; attempt++) {
    const later = attempt % 2;
    world.socket.end(later ? 1013 : 4003);
    const wait = world.next - world.now;
    assert.ok(wait >= 0 && wait <= 8000, String(wait));
    await world.pass(wait);
  }
  const fixed = start({ randomizationFactor: 0 });
  for (const code of [1013, 4003]) {
    fixed.world.socket.end(code);
    assert.equal(fixed.world.next - fixed.world.now, 5000);
    await fixed.world.pass(5000);
  }
});

test('waits as long as a server that restarts asks for, and its own time on top', async () => {
  const { world } = start({ reconnectionDelay: 100, randomizationFactor: 0 });
  for (const [reason, wait] of [
    ['3210 ms to wait: the server is restarting', 3310],
    ['0 ms to wait: the server is restarting', 200],
    ['the server is restarting', 400],
    ['', 800],
  ]) {
    world.socket.end(1012, reason);
    assert.equal(world.next - world.now, wait);
    await world.pass(wait);
  }
});

test('gives up after so many attempts in a row', async () => {
  for (const [options, sockets] of [[{ reconnectionAttempts: 3 }, 4], [{ reconnectionAttempts: 0 }, 1], [{ reconnection: false }, 1]]) {
    const { world, events } = start(options);
    for (let attempt = 0; attempt < 6; attempt++) {
      if (world.socket.readyState !== 3) world.socket.end(1006);
      await world.pass(10_000);
    }
    assert.equal(world.sockets.length, sockets);
    assert.deepEqual(events.slice(-2), ['error ERR_CONNECTION', 'close 1006 false']);
    assert.equal(world.timers, 0);
  }
});

test('connects at once when the page comes online, and only then', async () => {
  const { world, relay, connect } = start({ reconnectionDelay: 5000 });
  await connect();
  world.socket.end();
  for (const listener of world.online) listener();
  assert.equal(world.sockets.length, 2);
  for (const listener of world.online) listener();
  await world.pass(10_000);
  assert.equal(world.sockets.length, 2);
  relay.close();
  world.socket.end();
  for (const listener of world.online) listener();
  assert.deepEqual([world.sockets.length, world.timers, world.online.length], [2, 0, 1]);
});

test('asks for a token for each connection, and again when it has expired', async () => {
  let tokens = 0;
  const { world, connect, events } = start({ token: async () => `token ${++tokens}` });
  await connect();
  world.socket.end(1006);
  await world.pass(1000);
  await connect();
  world.socket.end(4503, 'token expired');
  await world.pass(1000);
  await connect();
  assert.deepEqual(world.sockets.map(({ sent }) => sent[0].authentication.token), ['token 1', 'token 2', 'token 3']);
  assert.deepEqual(events, ['open false', 'close 1006 true', 'open false', 'close 4503 true', 'open false']);
});

test('a token that cannot be had is an error, and tried again', async () => {
  const answers = [() => { throw new Error('no'); }, () => Promise.reject(new Error('nor')), () => 5, () => undefined, () => Promise.reject(undefined), () => 'x'];
  const { world, relay, connect, events } = start({ token: () => answers.shift()(), reconnectionDelayMax: 1000 });
  const causes = [];
  relay.on('error', ({ cause }) => causes.push(cause?.message));
  for (let attempt = 0; attempt < 5; attempt++) {
    world.socket.open();
    await settled();
    assert.equal(world.socket.readyState, 2);
    assert.equal(world.socket.sent.length, 0);
    await world.pass(1000);
  }
  await connect();
  assert.deepEqual(events, [...Array(5).fill(['error ERR_TOKEN', 'close 1006 true']).flat(), 'open false']);
  assert.deepEqual(causes.slice(0, 4), ['no', 'nor', 'token must be a string, not number', 'token must be a string, not undefined']);
});

test('a token that comes when its connection is gone is not used', async () => {
  const gates = [];
  const { world, relay } = start({ token: () => new Promise((resolve) => gates.push(resolve)) });
  world.socket.open();
  await settled();
  world.socket.end();
  await world.pass(1000);
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

test('a connection that does not open, or is never authenticated, is given up after 20 seconds', async () => {
  for (const opens of [false, true]) {
    const { world, events } = start();
    if (opens) world.socket.open();
    await world.pass(20_000);
    assert.deepEqual(events, []);
    await world.pass(500);
    assert.deepEqual(events, ['close 1006 true']);
    assert.equal(world.socket.readyState, 2, 'closed, though it will never say so');
    await world.pass(1000);
    assert.equal(world.sockets.length, 2);
    world.sockets[0].end();
    assert.equal(events.length, 1);
  }
});

test('a link on which nothing comes for 45 seconds is dead', async () => {
  const { world, connect, events } = start();
  await connect();
  await world.pass(40_000);
  world.socket.say({ ping: {} });
  await world.pass(45_000);
  assert.deepEqual(events, ['open false']);
  await world.pass(500);
  assert.deepEqual(events, ['open false', 'close 1006 true']);
  await world.pass(1000);
  assert.equal(world.sockets.length, 2);
});

test('a link on which nothing is accepted for 45 seconds is dead, unless the channel is on hold', async () => {
  const { world, relay, connect, events } = start();
  await connect();
  const [one, held] = [relay.createChannel(1), relay.createChannel(2)];
  held.send('x');
  world.socket.say({ hold: { targetId: 2, seq: 1, retryAfter: 200_000 } });
  const ping = async (times) => {
    for (let i = 0; i < times; i++) {
      await world.pass(10_000);
      world.socket.say({ ping: {} });
    }
  };
  await ping(10);
  one.send('a');
  await ping(4);
  one.send('b');
  world.socket.say({ accepted: { targetId: 1, seq: 1 } });
  await ping(4);
  assert.deepEqual(events, ['open false']);
  await ping(1);
  assert.deepEqual(events, ['open false', 'close 1006 true']);
});

test('after a sleep, frames that came in time get to be read first', async () => {
  const { world, relay, connect, events } = start();
  await connect();
  relay.createChannel(1).send('a');
  world.sleep(3_600_000);
  await world.ring();
  assert.deepEqual(events, ['open false'], 'suspicious, no more');
  world.socket.say({ accepted: { targetId: 1, seq: 1 } });
  await world.pass(40_000);
  assert.deepEqual(events, ['open false']);
  // The other order: the frame is read before the timer rings.
  world.sleep(3_600_000);
  world.socket.say({ ping: {} });
  await world.pass(1000);
  assert.deepEqual(events, ['open false']);
  // Nothing came.
  world.sleep(3_600_000);
  await world.pass(1000);
  assert.deepEqual(events, ['open false', 'close 1006 true']);
});

test('in a tab whose timers do not ring, frames do what timers should', async () => {
  const { world, relay, connect, events } = start();
  await connect();
  relay.createChannel(1).send('a');
  for (let second = 0; second < 46; second++) {
    world.sleep(1000);
    world.socket.say({ ping: {} });
  }
  assert.deepEqual(events, ['open false', 'close 1006 true']);
});

test('a clock that is set back delays nothing for long', async () => {
  const { world, connect, events } = start();
  await connect();
  world.sleep(-3_600_000);
  await world.pass(3_600_000 + 46_000);
  assert.deepEqual(events, ['open false', 'close 1006 true']);
});

test('close() is final in every state, and the last close says so', async () => {
  const states = {
    connecting: async () => {},
    'waiting for an answer': async ({ world }) => world.socket.open(),
    open: async ({ connect }) => connect(),
    waiting: async ({ world }) => world.socket.end(1006),
  };
  for (const [name, reach] of Object.entries(states)) {
    const here = start();
    const { world, relay, events } = here;
    const channel = relay.createChannel(1);
    await reach(here);
    await settled();
    const callback = spy();
    channel.send('a', callback);
    relay.close(4000, 'bye');
    relay.close();
    assert.deepEqual(callback.calls, ['ERR_CLOSED'], name);
    assert.throws(() => channel.send('b'), { code: 'ERR_CLOSED' });
    if (name === 'waiting') {
      assert.deepEqual(events, ['close 1006 true', 'close 4000 false']);
    } else {
      assert.deepEqual(world.socket.closedWith, { code: 4000, reason: 'bye' });
      world.socket.say({ relay: { senderId: 1, message: 'late', offset: 1 } }, { authenticated: AUTHENTICATED }, { ping: {} });
      world.socket.end(4000, 'bye');
      assert.equal(events.at(-1), 'close 4000 false', name);
    }
    await world.pass(100_000);
    assert.deepEqual([world.sockets.length, world.timers, events.filter((event) => event.endsWith('false') && event.startsWith('close')).length], [1, 0, 1], name);
  }
});

test('close() acknowledges what was heard, and no more is heard then', async () => {
  const { world, relay, connect, relayTo } = start();
  await connect();
  for (const offset of [1, 2, 3]) relayTo(offset);
  const heard = [];
  relay.createChannel(1).on('message', (message) => {
    heard.push(message);
    if (message === '2') relay.close();
  });
  await settled();
  assert.deepEqual(heard, ['1', '2']);
  assert.deepEqual(world.socket.sent.at(-1), { received: { senderId: 1, offset: 2 } });
});

test('close() ends although the other side never answers', async () => {
  const { world, relay, connect, events } = start();
  await connect();
  relay.close();
  await world.pass(5500);
  assert.deepEqual(events, ['open false', 'close 1006 false']);
  assert.equal(world.timers, 0);
});

test('a listener may close the relay, or send, wherever it is called', async () => {
  for (const name of ['open', 'close', 'error']) {
    const { world, relay, connect, events } = start();
    relay.once(name, () => relay.close());
    await connect();
    world.socket.say({ error: { code: 'ERR_X', message: '' } });
    world.socket.end(1006);
    await world.pass(10_000);
    assert.equal(events.at(-1).endsWith('false'), true, name);
    assert.deepEqual([world.sockets.length, world.timers], [1, 0], name);
  }
  const { world, relay, connect, relayed } = start();
  const channel = relay.createChannel(1);
  channel.on('open', () => channel.send('open'));
  channel.on('drain', () => channel.send('drain'));
  await connect();
  channel.send('a', () => channel.send('callback'));
  world.socket.say({ accepted: { targetId: 1, seq: 2 } });
  world.socket.say({ accepted: { targetId: 1, seq: 3 } });
  assert.deepEqual(relayed(), ['1:open:1', '1:a:2', '1:callback:3', '1:drain:4']);
});

test('options are checked, and may stand in any place', () => {
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
