// Messages that the server holds, rejects or expires.
import assert from 'node:assert/strict';
import test from 'node:test';
import { spy, start } from './page.mjs';

test('emits expired once per message, and other messages stay outstanding', async () => {
  const { world, relay, connect, relayed, events } = start();
  const channel = relay.createChannel(1);
  const [a, b, c] = [spy(), spy(), spy()];
  const notices = [];
  channel.on('expired', (...args) => notices.push(args));
  await connect();
  channel.send('a', a);
  channel.send('b', b);
  channel.send('c', c);
  const expired = (seq, last, notice) => [
    { accepted: { targetId: 1, seq: last } },
    { rejected: { targetId: 1, seq, last, notice, code: 'ERR_MESSAGE_EXPIRED', message: 'too late' } },
  ];
  world.socket.receive(...expired(1, 2, 1));
  assert.deepEqual([notices, a.calls, b.calls, c.calls], [[[1, 2]], ['ok'], ['ok'], []]);
  world.socket.end();
  await world.advance(1000);
  await connect({ resumed: true });
  // The acceptance was lost with the connection, and the message has expired since.
  channel.send('d');
  world.socket.receive(...expired(1, 2, 1), ...expired(3, 3, 2), ...expired(3, 3, 2));
  assert.deepEqual([notices, c.calls, channel.bufferedAmount], [[[1, 2], [3, 3]], ['ok'], 1]);
  assert.deepEqual(relayed(), ['1:c:3', '1:d:4'], 'nothing is sent again');
  world.socket.end();
  await world.advance(1000);
  await connect({ resumed: false, epoch: 'e2' });
  world.socket.receive(...expired(4, 4, 1));
  assert.deepEqual(notices, [[1, 2], [3, 3], [4, 4]], 'a server that lost its store counts notices from 1 again');
  assert.ok(!events.some((event) => event.startsWith('error')), 'expiry is no error');
});

test('after a hold waits, then sends everything outstanding again, the oldest with `first`', async () => {
  const { world, relay, connect, relayed } = start();
  const channel = relay.createChannel(1);
  const other = relay.createChannel(2);
  await connect();
  for (const message of ['a', 'b', 'c']) channel.send(message);
  world.socket.receive({ accepted: { targetId: 1, seq: 1 } }, { hold: { targetId: 1, seq: 2, retryAfter: 250 } });
  channel.send('d');
  other.send('x');
  await world.advance(249);
  assert.deepEqual(relayed(), ['1:a:1', '1:b:2', '1:c:3', '2:x:1'], 'a hold does not delay other channels');
  await world.advance(1);
  assert.deepEqual(relayed().slice(4), ['1:b:2!', '1:c:3', '1:d:4']);
  channel.send('e');
  assert.deepEqual(relayed().slice(7), ['1:e:5']);
  // A second hold, before anything was accepted.
  world.socket.receive({ hold: { targetId: 1, seq: 2, retryAfter: 0 } });
  await world.advance(0);
  assert.deepEqual(relayed().slice(8), ['1:b:2!', '1:c:3', '1:d:4', '1:e:5']);
});

test('a hold without a valid time ends at once', async () => {
  for (const retryAfter of [undefined, null, 'soon', -1, {}]) {
    const { world, relay, connect, relayed } = start();
    await connect();
    relay.createChannel(1).send('a');
    world.socket.receive({ hold: { targetId: 1, seq: 1, retryAfter } });
    await world.advance(0);
    assert.deepEqual(relayed(), ['1:a:1', '1:a:1!'], `${retryAfter}`);
  }
});

test('a hold ends with its connection', async () => {
  const { world, relay, connect, relayed } = start();
  const channel = relay.createChannel(1);
  await connect();
  channel.send('a');
  world.socket.receive({ hold: { targetId: 1, seq: 1, retryAfter: 10_000 } });
  channel.send('b');
  world.socket.end();
  await world.advance(1000);
  await connect({ resumed: true });
  assert.deepEqual(relayed(), ['1:a:1', '1:b:2']);
  await world.advance(20_000);
  assert.equal(relayed().length, 2);
});

test('ignores holds and rejections of messages that are not outstanding', async () => {
  const { world, relay, connect, relayed } = start();
  const channel = relay.createChannel(1);
  await connect();
  channel.send('a');
  world.socket.receive({ accepted: { targetId: 1, seq: 1 } });
  for (const seq of [0, 1, 2, 99]) world.socket.receive({ hold: { targetId: 1, seq, retryAfter: 9 } }, { rejected: { targetId: 1, seq, code: 'ERR', message: '' } });
  channel.send('b');
  assert.deepEqual(relayed(), ['1:a:1', '1:b:2']);
});

test('a rejection fails all outstanding messages of the channel, and the next message says `first`', async () => {
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
  world.socket.receive({ accepted: { targetId: 1, seq: 1 } }, { rejected: { targetId: 1, seq: 2, code: 'ERR_CHANNEL_NOT_REGISTERED', message: 'no channel' } });
  assert.deepEqual([accepted.calls, failed.calls, elsewhere.calls], [['ok'], ['ERR_CHANNEL_NOT_REGISTERED', 'ERR_CHANNEL_NOT_REGISTERED'], []]);
  assert.deepEqual(errors.map(({ code, message, targetId }) => [code, message, targetId]), [['ERR_CHANNEL_NOT_REGISTERED', 'no channel', 1]]);
  assert.deepEqual([drained, events.length], [[0], 2]);
  assert.equal(channel.send('d'), 4, 'a seq is never used twice');
  channel.send('e');
  assert.deepEqual(relayed().slice(4), ['1:d:4!', '1:e:5']);
  // On a new connection nothing is refused.
  world.socket.receive({ rejected: { targetId: 1, seq: 4, code: 'ERR_CHANNEL_NOT_REGISTERED', message: '' } });
  world.socket.end();
  await world.advance(1000);
  await connect({ resumed: true });
  channel.send('f');
  assert.deepEqual(relayed(), ['2:x:1', '1:f:6']);
});
