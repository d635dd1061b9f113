// Closing a relay.
import assert from 'node:assert/strict';
import test from 'node:test';
import { settled } from '../model.mjs';
import { AUTHENTICATED, spy, start } from './page.mjs';

test('close() is final in every state and emits a last close', async () => {
  const states = {
    connecting: async () => {},
    authenticating: async ({ world }) => world.socket.open(),
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
      world.socket.receive({ relay: { senderId: 1, message: 'late', offset: 1 } }, { authenticated: AUTHENTICATED }, { ping: {} });
      world.socket.end(4000, 'bye');
      assert.equal(events.at(-1), 'close 4000 false', name);
    }
    await world.advance(100_000);
    assert.deepEqual([world.sockets.length, world.timers, events.filter((event) => event.endsWith('false') && event.startsWith('close')).length], [1, 0, 1], name);
  }
});

test('close() acknowledges received messages and stops emitting', async () => {
  const { world, relay, connect, relayTo } = start();
  await connect();
  for (const offset of [1, 2, 3]) relayTo(offset);
  const emitted = [];
  relay.createChannel(1).on('message', (message) => {
    emitted.push(message);
    if (message === '2') relay.close();
  });
  await settled();
  assert.deepEqual(emitted, ['1', '2']);
  assert.deepEqual(world.socket.sent.at(-1), { received: { senderId: 1, offset: 2 } });
});

test('close() completes even if the server never answers', async () => {
  const { world, relay, connect, events } = start();
  await connect();
  relay.close();
  await world.advance(5500);
  assert.deepEqual(events, ['open false', 'close 1006 false']);
  assert.equal(world.timers, 0);
});
