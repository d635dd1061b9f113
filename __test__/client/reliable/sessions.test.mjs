// A message is known by its sender's session and number: it is emitted once, however often and whichever way it comes.
import assert from 'node:assert/strict';
import test from 'node:test';
import { settled } from '../model.mjs';
import { start } from './page.mjs';

const [ONE, TWO] = ['9f86d081884c7d65', '0000000000000002'];
const MIB = 2 ** 20;

/** Returns an open relay, the messages that sender 1 sent to it, and a way to let one come. */
async function open(options) {
  const here = start(options);
  await here.connect();
  const emitted = [];
  const listen = () => here.relay.createChannel(1).on('message', (message) => emitted.push(message));
  /** Relays a message that says which one it is, such as `one 3`. */
  const relay = (offset, seq, session, name = session === TWO ? 'two' : 'one', senderId = 1) => here.world.socket.receive({ relay: { senderId, message: `${name} ${seq}`, offset, seq, session } });
  const reconnect = async (members) => {
    here.world.socket.end();
    await here.world.advance(1000);
    await here.connect(members);
  };
  /** The offsets that were acknowledged on this connection. */
  const acknowledged = async () => {
    await here.world.advance(50);
    return here.received().map(({ offset }) => offset);
  };
  return { ...here, channel: here.relay.createChannel(1), emitted, listen, relay, reconnect, acknowledged };
}

for (const [how, members] of [
  ['on the same connection', undefined],
  ['on a new connection', { resumed: true }],
  ['from a server with the same store', { resumed: true, offset: 2 ** 33 }],
  ['from a server that has lost its store', { epoch: 'e2' }],
]) {
  test(`a message that comes again ${how} is dropped and acknowledged`, async () => {
    const { emitted, listen, relay, reconnect, acknowledged } = await open();
    listen();
    relay(5, 1, ONE);
    relay(6, 2);
    if (members) await reconnect(members);
    const base = members?.offset ?? (members?.epoch ? 0 : 6);
    relay(base + 1, 1, ONE);
    relay(base + 2, 2);
    assert.deepEqual((await acknowledged()).at(-1), base + 2);
    relay(base + 3, 3);
    assert.deepEqual(emitted, ['one 1', 'one 2', 'one 3']);
    assert.deepEqual((await acknowledged()).at(-1), base + 3);
  });
}

test('each session of a sender, and each sender, counts for itself', async () => {
  const { emitted, listen, relay: relayed, reconnect, acknowledged } = await open();
  listen();
  relayed(1, 1, ONE);
  relayed(2, 2);
  relayed(3, 1, TWO);
  relayed(4, 2, undefined, 'two');
  relayed(5, 2, ONE);
  relayed(6, 3, undefined, 'one');
  assert.deepEqual(emitted, ['one 1', 'one 2', 'two 1', 'two 2', 'one 3']);
  await reconnect({ resumed: true });
  relayed(7, 2, TWO);
  relayed(8, 3, undefined, 'two');
  relayed(9, 3, ONE);
  assert.deepEqual(emitted.slice(5), ['two 3']);
  assert.deepEqual(await acknowledged(), [9]);
});

test('a frame without a session continues that of its own sender', async () => {
  const { relay, connect, world } = start();
  await connect();
  const emitted = [];
  for (const id of [1, 2]) relay.createChannel(id).on('message', (message) => emitted.push(message));
  const send = (senderId, seq, session) => world.socket.receive({ relay: { senderId, message: `${senderId} ${seq}`, offset: seq, seq, session } });
  send(1, 5, ONE);
  send(2, 1, TWO);
  for (const [senderId, seq] of [[1, 5], [1, 6], [2, 1], [2, 2]]) send(senderId, seq);
  assert.deepEqual(emitted, ['1 5', '2 1', '1 6', '2 2']);
});

test('remembers the eight sessions of a sender that were heard last', async () => {
  const { emitted, listen, relay, acknowledged } = await open();
  const session = (n) => String(n).padStart(16, '0');
  listen();
  let offset = 0;
  for (let n = 1; n <= 8; n++) relay(++offset, 1, session(n), 'a');
  relay(++offset, 2, session(1), 'b');
  relay(++offset, 1, session(9), 'c');
  emitted.length = 0;
  for (const n of [1, 3, 4, 5, 6, 7, 8, 9]) relay(++offset, 1, session(n), `again ${n}`);
  assert.deepEqual(emitted, [], 'the sessions 1 and 3 to 9 are known');
  relay(++offset, 1, session(2), 'forgotten');
  assert.deepEqual(emitted, ['forgotten 1']);
  assert.deepEqual((await acknowledged()).at(-1), offset);
});

test('a message that nobody listens for is not acknowledged and is emitted once, although it comes again', async () => {
  for (const members of [{ resumed: true }, { epoch: 'e2' }]) {
    const { emitted, listen, relay, reconnect, acknowledged } = await open();
    relay(1, 1, ONE);
    relay(2, 2);
    await reconnect(members);
    relay(11, 1, ONE);
    relay(12, 2);
    relay(13, 3);
    assert.deepEqual(await acknowledged(), []);
    listen();
    await settled();
    assert.deepEqual(emitted, ['one 1', 'one 2', 'one 3']);
    assert.deepEqual(await acknowledged(), [13]);
  }
});

test('without a listener a repetition is acknowledged, unless it came behind a message that waits', async () => {
  const { channel, emitted, listen, relay, reconnect, acknowledged } = await open();
  listen();
  relay(1, 1, ONE);
  relay(2, 2);
  channel.removeAllListeners();
  await reconnect({ resumed: true });
  relay(3, 1, ONE);
  assert.deepEqual(await acknowledged(), [3]);
  relay(4, 3);
  relay(5, 2);
  assert.deepEqual(await acknowledged(), [3], 'it would cover the message that waits');
  listen();
  await settled();
  assert.deepEqual(emitted, ['one 1', 'one 2', 'one 3']);
  assert.deepEqual(await acknowledged(), [3, 5]);
});

test('a repetition behind a message without room is not acknowledged', async () => {
  const { world, channel, listen, relay, acknowledged } = await open();
  listen();
  relay(1, 1, ONE);
  assert.deepEqual(await acknowledged(), [1]);
  channel.removeAllListeners();
  for (let sender = 2; sender <= 5; sender++) {
    for (let offset = 1; offset <= 4; offset++) world.socket.receive({ relay: { senderId: sender, message: 'x'.repeat(MIB - 128), offset } });
  }
  relay(2, 2);
  relay(3, 1);
  assert.deepEqual(await acknowledged(), [1]);
});

test('a message that a listener took between two connections is acknowledged when it comes again', async () => {
  const { world, connect, emitted, listen, relay, acknowledged } = await open();
  relay(1, 1, ONE);
  world.socket.end();
  listen();
  await world.advance(1000);
  assert.deepEqual(emitted, ['one 1']);
  await connect({ epoch: 'e2' });
  assert.deepEqual(await acknowledged(), []);
  relay(9, 1, ONE);
  assert.deepEqual(await acknowledged(), [9]);
  assert.deepEqual(emitted, ['one 1']);
});

test('a session that was named by a message without room counts for the ones behind it', async () => {
  const { world, connect, emitted, listen, relay } = await open();
  const big = (offset, seq, session) => world.socket.receive({ relay: { senderId: 1, message: String(seq).padEnd(MIB, '-'), offset, seq, session } });
  for (let seq = 1; seq <= 4; seq++) big(seq, seq, seq === 1 ? ONE : undefined);
  relay(5, 1, TWO, 'x'.repeat(MIB));
  relay(6, 2, undefined, 'two');
  listen();
  await settled();
  await world.advance(1000);
  await connect({ resumed: true });
  assert.equal(emitted.length, 4);
  relay(4, 4, ONE);
  relay(5, 1, TWO);
  relay(6, 2, undefined, 'two');
  assert.deepEqual(emitted.slice(4), ['two 1', 'two 2']);
});

test('a server that sends no numbers, or names no session, goes by offsets', async () => {
  const { emitted, listen, relayTo, relay, reconnect, acknowledged } = await open();
  listen();
  relay(1, 1, ONE);
  await reconnect({ epoch: 'e2' });
  for (const offset of [1, 2, 2, 1, 3]) relayTo(offset);
  // A session counts on the connection on which it was named.
  relay(4, 1);
  relay(4, 2);
  assert.deepEqual(emitted, ['one 1', '1', '2', '3', 'one 1']);
  assert.deepEqual(await acknowledged(), [4]);
  await reconnect({ epoch: 'e3' });
  relayTo(1);
  relay(2, 1, ONE);
  relay(3, 2);
  assert.deepEqual(emitted.slice(5), ['1', 'one 2']);
});
