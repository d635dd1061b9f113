// Sent messages are outstanding until they are accepted, and their number and size are limited.
import assert from 'node:assert/strict';
import test from 'node:test';
import { settled } from '../model.mjs';
import { spy, start } from './page.mjs';

test('a new connection sends unaccepted messages again, with the epoch and the same session', async () => {
  const { world, relay, connect, relayed, events } = start();
  const channel = relay.createChannel(1);
  const [a, b, c] = [spy(), spy(), spy()];
  await connect();
  channel.send('a', a);
  channel.send('b', b);
  channel.send('c', c);
  world.socket.receive({ accepted: { targetId: 1, seq: 1 } });
  assert.deepEqual([a.calls, b.calls], [['ok'], []]);
  world.socket.end(1006);
  channel.send('d');
  await world.advance(1000);
  await connect({ resumed: true });
  const [first, second] = world.sockets.map(({ sent }) => sent[0].authentication);
  assert.deepEqual(second, { ...first, connection: 2, epoch: 'e1' });
  assert.deepEqual(relayed(), ['1:b:2', '1:c:3', '1:d:4']);
  world.socket.receive({ accepted: { targetId: 1, seq: 4 } });
  assert.deepEqual([a.calls, b.calls, c.calls], [['ok'], ['ok'], ['ok']]);
  assert.equal(channel.bufferedAmount, 0);
  assert.deepEqual(events, ['open false', 'close 1006 true', 'open true']);
});

test('ignores acceptances of old, unsent and unknown messages', async () => {
  const { world, relay, connect } = start();
  const channel = relay.createChannel(1);
  await connect();
  const callback = spy();
  channel.send('a', callback);
  channel.send('b', callback);
  for (const accepted of [{ targetId: 1, seq: 3 }, { targetId: 2, seq: 1 }, { targetId: 1, seq: 0 }, { targetId: 1 }, { targetId: 1, seq: null }, {}, 5]) {
    world.socket.receive({ accepted });
  }
  assert.deepEqual([callback.calls.length, channel.bufferedAmount], [0, 2]);
  world.socket.receive({ accepted: { targetId: 1, seq: 1 } }, { accepted: { targetId: 1, seq: 1 } }, { accepted: { targetId: 1, seq: 2 } });
  assert.deepEqual(callback.calls, ['ok', 'ok']);
});

test('limits outstanding messages and characters, and emits drain', async () => {
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
  world.socket.receive({ accepted: { targetId: 2, seq: 1 } }, { accepted: { targetId: 1, seq: 10_000 } });
  assert.deepEqual([drained, two.bufferedAmount], [1, 0]);
  assert.equal(two.send('y'), 2);
  assert.equal(one.send('z'), 10_001);
});

test('every listener may close the relay or send', async () => {
  for (const name of ['open', 'close', 'error']) {
    const { world, relay, connect, events } = start();
    relay.once(name, () => relay.close());
    await connect();
    world.socket.receive({ error: { code: 'ERR_X', message: '' } });
    world.socket.end(1006);
    await world.advance(10_000);
    assert.equal(events.at(-1).endsWith('false'), true, name);
    assert.deepEqual([world.sockets.length, world.timers], [1, 0], name);
  }
  const { world, relay, connect, relayed } = start();
  const channel = relay.createChannel(1);
  channel.on('open', () => channel.send('open'));
  channel.on('drain', () => channel.send('drain'));
  await connect();
  channel.send('a', () => channel.send('callback'));
  world.socket.receive({ accepted: { targetId: 1, seq: 2 } });
  world.socket.receive({ accepted: { targetId: 1, seq: 3 } });
  assert.deepEqual(relayed(), ['1:open:1', '1:a:2', '1:callback:3', '1:drain:4']);
});
