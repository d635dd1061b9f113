// A page that wakes up asks at once whether its connection is still there, and does not go on waiting.
import assert from 'node:assert/strict';
import test from 'node:test';
import { settled } from '../model.mjs';
import { start } from './page.mjs';

/** Everything by which a page can tell that it was offline, hidden, frozen or asleep. */
const WAKINGS = {
  online: (world) => world.fire('online'),
  'visible again': (world) => world.fire('visibilitychange'),
  'back from the cache of pages': (world) => world.fire('pageshow', { persisted: true }),
  'timers that are late': async (world) => {
    world.sleep(8_000);
    await world.ring();
  },
};

const pings = ({ sent }) => sent.filter(({ ping }) => ping).length;

for (const [name, wake] of Object.entries(WAKINGS)) {
  test(`${name}: an open connection is asked, and replaced if it does not answer`, async () => {
    const { world, connect, events } = start();
    await connect();
    await wake(world);
    assert.deepEqual(world.socket.sent.at(-1), { ping: {} });
    await wake(world);
    assert.equal(pings(world.socket), 1, 'one question at a time');
    await world.pass(5_500);
    assert.deepEqual(events, ['open false', 'close 1006 true']);
    assert.equal(world.sockets[0].readyState, 2, 'closed, though it will never say so');
    await world.pass(1_000);
    assert.equal(world.sockets.length, 2);
  });

  test(`${name}: a connection that answers stays, and is asked the next time too`, async () => {
    const { world, connect, events } = start();
    await connect();
    for (let time = 1; time <= 3; time++) {
      await wake(world);
      assert.equal(pings(world.socket), time);
      world.socket.say({ pong: {} });
      await world.pass(20_000);
      world.socket.say({ ping: {} });
    }
    assert.deepEqual(events, ['open false']);
  });

  test(`${name}: an attempt that was under way is bounded`, async () => {
    for (const opens of [false, true]) {
      const { world, events } = start();
      if (opens) world.socket.open();
      await world.pass(4_000);
      await wake(world);
      assert.equal(world.sockets.length, 1);
      assert.equal(pings(world.socket), 0, 'nothing is said that a stranger may not say');
      await world.pass(5_500);
      assert.deepEqual(events, ['close 1006 true']);
    }
  });

  test(`${name}: a wait ends at once`, async () => {
    const { world, connect } = start({ reconnectionDelay: 600_000, reconnectionDelayMax: 600_000, randomizationFactor: 0 });
    await connect();
    world.socket.end();
    await wake(world);
    assert.equal(world.sockets.length, 2);
    // The events that follow belong to the same waking: the new attempt has all its time.
    for (const event of ['online', 'visibilitychange']) world.fire(event);
    await world.pass(19_000);
    assert.equal(world.socket.readyState, 0);
  });

  test(`${name}: a wait that the server asked for goes on`, async () => {
    for (const [code, reason, wait] of [[1012, '60000 ms to wait: the server is restarting', 60_000], [1013, '', 30_000], [4003, 'over the rate limit', 30_000]]) {
      const { world, connect } = start({ reconnectionDelayMax: 30_000, randomizationFactor: 0 });
      await connect();
      world.socket.end(code, reason);
      await wake(world);
      assert.equal(world.sockets.length, 1, `${code}`);
      await world.pass(wait - 10_000);
      assert.equal(world.sockets.length, 1, `${code}`);
      await world.pass(11_000);
      assert.equal(world.sockets.length, 2, `${code}`);
    }
  });
}

test('a page that was hidden, or shown for the first time, has not woken', async () => {
  const { world, connect } = start();
  await connect();
  world.document.hidden = true;
  world.fire('visibilitychange');
  world.fire('pageshow', { persisted: false });
  assert.equal(pings(world.socket), 0);
  // It may go online out of sight.
  world.fire('online');
  assert.equal(pings(world.socket), 1);
});

test('what came before the machine slept is no answer; a link that is slow has time while it brings something', async () => {
  const { world, connect, events, relayTo } = start();
  await connect();
  world.fire('online');
  for (let offset = 1; offset <= 4; offset++) {
    await world.pass(4_000);
    relayTo(offset);
  }
  assert.deepEqual(events, ['open false']);
  await world.pass(5_500);
  assert.deepEqual(events, ['open false', 'close 1006 true']);
});

test('timers that are on time ask nothing, however long a connection lasts', async () => {
  const { world, connect, events } = start();
  await connect();
  for (let minute = 0; minute < 60; minute++) {
    await world.pass(20_000);
    world.socket.say({ ping: {} });
  }
  assert.deepEqual([pings(world.socket), events], [0, ['open false']]);
});

test('a relay that is closed, or plain, listens to nothing of the page', async () => {
  const { world, relay, connect } = start();
  assert.notEqual(world.listeners.length, 0);
  await connect();
  relay.close();
  assert.deepEqual(world.listeners, []);
  const ended = start();
  await ended.connect();
  ended.world.socket.end(4500);
  assert.deepEqual(ended.world.listeners, []);
  const plain = start({ reliable: false });
  plain.world.socket.open();
  await settled();
  assert.deepEqual([plain.world.listeners, plain.world.timers], [[], 0]);
});
