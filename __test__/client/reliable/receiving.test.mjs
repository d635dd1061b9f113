// Messages are emitted once and acknowledged, and unexpected frames do no harm.
import assert from 'node:assert/strict';
import test from 'node:test';
import { settled } from '../model.mjs';
import { AUTHENTICATED, start } from './page.mjs';

test('emits each message once and acknowledges it after that', async () => {
  const { world, relay, connect, received, relayTo } = start();
  await connect();
  const emitted = [];
  relay.createChannel(1).on('message', (message) => emitted.push(message));
  for (const offset of [3, 4, 4, 3, 7]) relayTo(offset);
  assert.deepEqual(emitted, ['3', '4', '7']);
  assert.deepEqual(received(), [], 'not one by one');
  await world.advance(50);
  assert.deepEqual(received(), [{ senderId: 1, offset: 7 }]);
  // Sending a frame sends pending acknowledgements first.
  relayTo(9);
  world.socket.receive({ ping: {} });
  assert.deepEqual(world.socket.sent.slice(-2), [{ received: { senderId: 1, offset: 9 } }, { pong: {} }]);
  await world.advance(1000);
  assert.equal(received().length, 2);
});

test('acknowledges after 32 messages or 256 Ki characters, even if the timer is late', async () => {
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

test('a message without a listener is not acknowledged, is received again, and is emitted once', async () => {
  const { world, relay, connect, received, relayTo } = start();
  await connect();
  for (const offset of [1, 2, 3]) relayTo(offset);
  await world.advance(1000);
  assert.deepEqual(received(), []);
  world.socket.end();
  await world.advance(1000);
  const emitted = [];
  const channel = relay.createChannel(1);
  // One message is emitted between two connections.
  channel.once('message', (message) => emitted.push(message));
  await settled();
  await connect({ resumed: true });
  await world.advance(50);
  assert.deepEqual(received(), [], 'the server has not sent it on this connection yet');
  for (const offset of [1, 2, 3, 4]) relayTo(offset);
  await world.advance(50);
  assert.deepEqual(received(), [{ senderId: 1, offset: 1 }]);
  channel.on('message', (message) => emitted.push(message));
  await settled();
  await world.advance(50);
  assert.deepEqual(emitted, ['1', '2', '3', '4']);
  assert.deepEqual(received().slice(1), [{ senderId: 1, offset: 4 }]);
});

test('with a new epoch offsets start anew, and waiting messages are emitted but not acknowledged', async () => {
  const { world, relay, connect, received, relayTo, events } = start();
  await connect();
  const emitted = [];
  relay.createChannel(1).on('message', (message) => emitted.push(message));
  relayTo(10);
  relayTo(11, 'waits', 2);
  world.socket.end();
  await world.advance(1000);
  await connect({ epoch: 'e2' });
  relayTo(1);
  relayTo(2, 'new', 2);
  relay.createChannel(2).on('message', (message) => emitted.push(message));
  await settled();
  await world.advance(50);
  assert.deepEqual(emitted, ['10', '1', 'waits', 'new']);
  assert.deepEqual(received(), [{ senderId: 1, offset: 1 }, { senderId: 2, offset: 2 }]);
  assert.deepEqual(events, ['open false', 'close 1006 true', 'open false']);
  world.socket.end();
  await world.advance(1000);
  world.socket.open();
  await settled();
  assert.equal(world.socket.sent[0].authentication.epoch, 'e2');
});

test('a message that waits since an earlier epoch survives later connections', async () => {
  const { world, relay, connect, received, relayTo } = start();
  await connect();
  relayTo(11, 'old', 2);
  for (const repeated of [false, true, true]) {
    world.socket.end();
    await world.advance(1000);
    await connect({ epoch: 'e2' });
    relayTo(1, 'new', 2);
    assert.deepEqual(received(), [], `repeated: ${repeated}`);
  }
  const emitted = [];
  relay.createChannel(2).on('message', (message) => emitted.push(message));
  await settled();
  await world.advance(50);
  assert.deepEqual(emitted, ['old', 'new']);
  assert.deepEqual(received(), [{ senderId: 2, offset: 1 }]);
});

test('a message whose listener throws is acknowledged', async () => {
  const { world, relay, connect, received, relayTo } = start();
  await connect();
  relay.createChannel(1).on('message', () => {
    throw new Error('over');
  });
  relay.createChannel(2).send('x', () => {
    throw new Error('out');
  });
  relayTo(1);
  world.socket.receive({ accepted: { targetId: 2, seq: 1 } });
  await world.advance(50);
  assert.deepEqual(received(), [{ senderId: 1, offset: 1 }]);
  assert.deepEqual(world.uncaught.map(({ message }) => message), ['over', 'out']);
});

test('reports presence and delivery', async () => {
  const { world, relay, connect } = start();
  const channel = relay.createChannel(1);
  const events = [];
  for (const name of ['join', 'leave']) channel.on(name, () => events.push(`${name} ${channel.online}`));
  channel.on('delivered', (seq) => events.push(seq));
  await connect();
  const presence = (clientId, online) => world.socket.receive({ presence: { clientId, online } });
  presence(1, false);
  presence(1, true);
  presence(1, true);
  presence(2, true);
  assert.equal(relay.createChannel(2).online, true);
  presence(1, false);
  presence(1, true);
  for (const message of ['a', 'b', 'c']) channel.send(message);
  for (const seq of [1, 1, 3, 2, 9]) world.socket.receive({ delivered: { targetId: 1, seq } });
  world.socket.end();
  assert.deepEqual(events, ['join true', 'leave false', 'join true', 1, 3, 'leave false']);
});

test('ignores early, late and unknown frames', async () => {
  const { world, relay, connect, events, relayTo } = start();
  const emitted = [];
  relay.createChannel(1).on('message', (message) => emitted.push(message));
  world.socket.open();
  await settled();
  relayTo(1, 'before authentication');
  world.socket.receive({ ping: {} }, { presence: { clientId: 1, online: true } });
  world.socket.receive({ authenticated: AUTHENTICATED });
  for (const frame of ['', 'null', '5', '"x"', '[]', '{"relay":null}', '{"relay":{}}', '{"hold":null}', '{"rejected":5}', '{"authenticated":{}}', '{"later":{}}', '{"relay":{"senderId":1,"message":"x","offset":"9"}}']) {
    world.socket.receive(frame);
  }
  assert.equal(world.socket.sent.length, 1);
  relayTo(1);
  const [old] = world.sockets;
  old.end();
  await world.advance(1000);
  await connect({ resumed: true });
  const before = [...events];
  old.receive({ relay: { senderId: 1, message: 'late', offset: 2 } }, { ping: {} }, { error: { code: 'ERR_X', message: '' } });
  old.end(4501);
  old.onerror({});
  old.onopen({});
  await settled();
  assert.deepEqual([emitted, events, world.sockets.length], [['1'], before, 2]);
  world.socket.receive({ error: { code: 'ERR_UNRECOGNIZED_MESSAGE', message: 'what?' } });
  assert.equal(events.at(-1), 'error ERR_UNRECOGNIZED_MESSAGE');
});
