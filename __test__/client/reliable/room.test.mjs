// The memory of waiting messages is bounded, and reliable messages that find no room are not lost.
import assert from 'node:assert/strict';
import test from 'node:test';
import { settled } from '../model.mjs';
import { start } from './page.mjs';

const MIB = 2 ** 20;
const big = (n) => String(n).padEnd(MIB, '-');
const numbers = (messages) => messages.map((message) => Number.parseInt(message));

/** Returns an open plain relay. */
async function plain() {
  const here = start({ reliable: false });
  here.world.socket.open();
  await settled();
  const relayTo = (message, senderId = 1) => here.world.socket.receive({ relay: { senderId, message } });
  return { ...here, relayTo };
}

test('plain: keeps 4,194,304 waiting characters per sender and refuses more with an error', async () => {
  const { relay, relayTo, events } = await plain();
  const errors = [];
  relay.on('error', (error) => errors.push([error.code, error.targetId]));
  for (let n = 1; n <= 6; n++) relayTo(big(n));
  assert.deepEqual(errors, [['ERR_QUEUE_FULL', 1], ['ERR_QUEUE_FULL', 1]]);
  relayTo(big(7), 2);
  assert.equal(errors.length, 2, 'other senders have their own limit');
  const emitted = [];
  relay.createChannel(1).on('message', (message) => emitted.push(message));
  await settled();
  relayTo(big(8));
  relayTo('9'.repeat(5 * MIB));
  assert.deepEqual(numbers(emitted.slice(0, 5)), [1, 2, 3, 4, 8]);
  assert.equal(emitted[5].length, 5 * MIB, 'messages with a listener are not limited');
  assert.equal(events.filter((event) => event.startsWith('error')).length, 2);
});

test('plain: keeps 16,777,216 waiting characters of all senders, and empty messages count too', async () => {
  const { relay, relayTo } = await plain();
  const refused = [];
  relay.on('error', ({ code, targetId }) => refused.push(`${code} ${targetId}`));
  for (let sender = 1; sender <= 17; sender++) relayTo(big(sender), sender);
  assert.deepEqual(refused, ['ERR_QUEUE_FULL 16', 'ERR_QUEUE_FULL 17']);
  // Empty messages still fit, but their number is limited as well.
  for (let sender = 100; sender < 20_000; sender++) relayTo('', sender);
  const taken = 19_900 - (refused.length - 2);
  assert.ok(taken > 1000 && taken < 10_000, `${taken} taken`);
  // Emitted messages no longer count.
  for (let sender = 1; sender <= 8; sender++) relay.createChannel(sender).on('message', () => {});
  await settled();
  refused.length = 0;
  for (let sender = 21; sender <= 27; sender++) relayTo(big(sender), sender);
  assert.deepEqual(refused, []);
});

test('reliable: messages without room are not acknowledged, and fetched after the others were emitted', async () => {
  const { world, relay, connect, events, received } = start();
  await connect();
  const send = (from) => {
    for (let n = from; n <= 7; n++) world.socket.receive({ relay: { senderId: 1, message: n === 6 ? '6' : big(n), offset: n } });
  };
  send(1);
  // The sixth would fit, but must not overtake the fifth.
  const emitted = [];
  const channel = relay.createChannel(1);
  channel.once('message', (message) => emitted.push(message));
  await settled();
  world.socket.receive({ relay: { senderId: 1, message: '8', offset: 8 } });
  assert.deepEqual(events, ['open false'], 'not while messages wait');
  channel.on('message', (message) => emitted.push(message));
  await settled();
  assert.deepEqual(numbers(emitted), [1, 2, 3, 4]);
  assert.deepEqual(received().at(-1), { senderId: 1, offset: 4 });
  assert.deepEqual(events, ['open false', 'close 1006 true']);
  await world.advance(1000);
  await connect({ resumed: true });
  send(3);
  world.socket.receive({ relay: { senderId: 1, message: '8', offset: 8 } });
  assert.deepEqual(numbers(emitted), [1, 2, 3, 4, 5, 6, 7, 8]);
  await world.advance(100);
  assert.deepEqual([events.length, received().at(-1)], [3, { senderId: 1, offset: 8 }]);
});

test('reliable: a channel gets messages for which others left no room', async () => {
  const { world, relay, connect, events } = start();
  await connect();
  for (let sender = 1; sender <= 4; sender++) {
    for (let n = 1; n <= 4; n++) world.socket.receive({ relay: { senderId: sender, message: big(n), offset: n } });
  }
  world.socket.receive({ relay: { senderId: 5, message: big(1), offset: 1 } });
  const emitted = [];
  relay.createChannel(5).on('message', (message) => emitted.push(message));
  await settled();
  assert.deepEqual(events, ['open false', 'close 1006 true']);
  await world.advance(1000);
  await connect({ resumed: true });
  world.socket.receive({ relay: { senderId: 5, message: big(1), offset: 1 } });
  assert.deepEqual(numbers(emitted), [1]);
});

test('reliable: repeated loss of the store does not exceed the limit', async () => {
  const { world, relay, connect } = start();
  let offset = 0;
  for (let life = 0; life < 10; life++) {
    await connect({ epoch: String(life) });
    world.socket.receive({ relay: { senderId: 1, message: big(life), offset: ++offset } });
    world.socket.end();
    await world.advance(1000);
  }
  const emitted = [];
  relay.createChannel(1).on('message', (message) => emitted.push(message));
  await settled();
  assert.deepEqual(numbers(emitted), [0, 1, 2, 3]);
});

test('keeps clients without a channel while they are online, up to a limit', async () => {
  const { world, relay, connect, events } = start();
  await connect();
  // Frames about clients to which nothing was sent are ignored.
  for (let targetId = 1; targetId <= 1000; targetId++) world.socket.receive({ accepted: { targetId, seq: 1 } }, { hold: { targetId, seq: 1 } }, { delivered: { targetId, seq: 1 } }, { rejected: { targetId, seq: 1, code: 'ERR', message: '' } });
  for (let clientId = 1; clientId <= 65_536; clientId++) world.socket.receive({ presence: { clientId, online: true } });
  world.socket.receive({ presence: { clientId: 70_000, online: true } });
  world.socket.receive({ relay: { senderId: 70_001, message: 'a', offset: 1 } });
  // There is room again, but this message must not overtake the skipped one.
  world.socket.receive({ presence: { clientId: 1, online: false } });
  world.socket.receive({ relay: { senderId: 70_001, message: 'b', offset: 2 } });
  assert.equal(relay.createChannel(65_536).online, true);
  assert.deepEqual(events, ['open false']);
  const emitted = [];
  relay.createChannel(70_001).on('message', (message) => emitted.push(message));
  await settled();
  assert.deepEqual([emitted, events], [[], ['open false', 'close 1006 true']]);
  await world.advance(1000);
  await connect({ resumed: true });
  for (const [index, message] of ['a', 'b'].entries()) world.socket.receive({ relay: { senderId: 70_001, message, offset: index + 1 } });
  assert.deepEqual(emitted, ['a', 'b']);
  world.socket.receive({ presence: { clientId: 70_000, online: true } });
  assert.equal(relay.createChannel(70_000).online, true);
});

test('plain: refuses messages while the send buffer of the socket is too long', async () => {
  const { world, relay } = await plain();
  const channel = relay.createChannel(1);
  world.socket.bufferedAmount = 16 * MIB + 1;
  const refused = [];
  assert.equal(channel.send('x', (error) => refused.push(error.code)), 0);
  await settled();
  assert.deepEqual(refused, ['ERR_QUEUE_FULL']);
  world.socket.bufferedAmount = 16 * MIB;
  channel.send('y', (error) => refused.push(error?.code));
  assert.deepEqual(refused, ['ERR_QUEUE_FULL', undefined]);
});

test('reliable: a server that pings but does not read gets no more answers', async () => {
  const { world, connect } = start();
  await connect();
  world.socket.bufferedAmount = 16 * MIB + 1;
  const { length } = world.socket.sent;
  world.socket.receive({ ping: {} });
  assert.equal(world.socket.sent.length, length);
});
