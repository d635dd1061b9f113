// A page that wakes checks its connection at once, and ends a wait to reconnect.
import assert from 'node:assert/strict';
import test from 'node:test';
import { settled } from '../model.mjs';
import { start } from './page.mjs';

/** The ways in which a page notices that it was offline, hidden, frozen or asleep. */
const WAKINGS = {
  online: (world) => world.fire('online'),
  'visible again': (world) => world.fire('visibilitychange'),
  'restored from the back/forward cache': (world) => world.fire('pageshow', { persisted: true }),
  'late timers': async (world) => {
    world.sleep(8_000);
    await world.fireTimers();
  },
};

const pings = ({ sent }) => sent.filter(({ ping }) => ping).length;

for (const [name, wake] of Object.entries(WAKINGS)) {
  test(`${name}: pings an open connection and replaces it if there is no answer`, async () => {
    const { world, connect, events } = start();
    await connect();
    await wake(world);
    assert.deepEqual(world.socket.sent.at(-1), { ping: {} });
    await wake(world);
    assert.equal(pings(world.socket), 1, 'one ping at a time');
    await world.advance(5_500);
    assert.deepEqual(events, ['open false', 'close 1006 true']);
    assert.equal(world.sockets[0].readyState, 2, 'closed, although it will never report that');
    await world.advance(1_000);
    assert.equal(world.sockets.length, 2);
  });

  test(`${name}: keeps a connection that answers, and pings it the next time too`, async () => {
    const { world, connect, events } = start();
    await connect();
    for (let time = 1; time <= 3; time++) {
      await wake(world);
      assert.equal(pings(world.socket), time);
      world.socket.receive({ pong: {} });
      await world.advance(20_000);
      world.socket.receive({ ping: {} });
    }
    assert.deepEqual(events, ['open false']);
  });

  test(`${name}: limits the time of a connection attempt`, async () => {
    for (const opens of [false, true]) {
      const { world, events } = start();
      if (opens) world.socket.open();
      await world.advance(4_000);
      await wake(world);
      assert.equal(world.sockets.length, 1);
      assert.equal(pings(world.socket), 0, 'nothing is sent before authentication');
      await world.advance(5_500);
      assert.deepEqual(events, ['close 1006 true']);
    }
  });

  test(`${name}: ends a wait to reconnect`, async () => {
    const { world, connect } = start({ reconnectionDelay: 600_000, reconnectionDelayMax: 600_000, randomizationFactor: 0 });
    await connect();
    world.socket.end();
    await wake(world);
    assert.equal(world.sockets.length, 2);
    // Further events of the same waking do not limit the new attempt.
    for (const event of ['online', 'visibilitychange']) world.fire(event);
    await world.advance(19_000);
    assert.equal(world.socket.readyState, 0);
  });

  test(`${name}: does not end a wait that the server asked for`, async () => {
    for (const [code, reason, wait] of [[1012, '60000 ms to wait: the server is restarting', 60_000], [1013, '', 30_000], [4003, 'over the rate limit', 30_000]]) {
      const { world, connect } = start({ reconnectionDelayMax: 30_000, randomizationFactor: 0 });
      await connect();
      world.socket.end(code, reason);
      await wake(world);
      assert.equal(world.sockets.length, 1, `${code}`);
      await world.advance(wait - 10_000);
      assert.equal(world.sockets.length, 1, `${code}`);
      await world.advance(11_000);
      assert.equal(world.sockets.length, 2, `${code}`);
    }
  });
}

test('hiding a page, or showing it for the first time, is no waking', async () => {
  const { world, connect } = start();
  await connect();
  world.document.hidden = true;
  world.fire('visibilitychange');
  world.fire('pageshow', { persisted: false });
  assert.equal(pings(world.socket), 0);
  // A hidden page can come online.
  world.fire('online');
  assert.equal(pings(world.socket), 1);
});

test('other frames are no answer to a ping, but extend the time for one', async () => {
  const { world, connect, events, relayTo } = start();
  await connect();
  world.fire('online');
  for (let offset = 1; offset <= 4; offset++) {
    await world.advance(4_000);
    relayTo(offset);
  }
  assert.deepEqual(events, ['open false']);
  await world.advance(5_500);
  assert.deepEqual(events, ['open false', 'close 1006 true']);
});

test('timers that are on time cause no ping', async () => {
  const { world, connect, events } = start();
  await connect();
  for (let minute = 0; minute < 60; minute++) {
    await world.advance(20_000);
    world.socket.receive({ ping: {} });
  }
  assert.deepEqual([pings(world.socket), events], [0, ['open false']]);
});

test('a closed relay and a plain relay do not listen to page events', async () => {
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
