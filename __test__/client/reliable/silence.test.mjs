// Dead connections are detected; those of a machine that slept survive.
import assert from 'node:assert/strict';
import test from 'node:test';
import { start } from './page.mjs';

test('a connection without a frame for 45 seconds is dead', async () => {
  const { world, connect, events } = start();
  await connect();
  await world.advance(40_000);
  world.socket.receive({ ping: {} });
  await world.advance(45_000);
  assert.deepEqual(events, ['open false']);
  await world.advance(500);
  assert.deepEqual(events, ['open false', 'close 1006 true']);
  await world.advance(1000);
  assert.equal(world.sockets.length, 2);
});

test('a connection without an acceptance for 45 seconds is dead, unless the channel is on hold', async () => {
  const { world, relay, connect, events } = start();
  await connect();
  const [one, held] = [relay.createChannel(1), relay.createChannel(2)];
  held.send('x');
  world.socket.receive({ hold: { targetId: 2, seq: 1, retryAfter: 200_000 } });
  const ping = async (times) => {
    for (let i = 0; i < times; i++) {
      await world.advance(10_000);
      world.socket.receive({ ping: {} });
    }
  };
  await ping(10);
  one.send('a');
  await ping(4);
  one.send('b');
  world.socket.receive({ accepted: { targetId: 1, seq: 1 } });
  await ping(4);
  assert.deepEqual(events, ['open false']);
  await ping(1);
  assert.deepEqual(events, ['open false', 'close 1006 true']);
});

test('after a sleep, frames that came in time are read first', async () => {
  const { world, relay, connect, events } = start();
  await connect();
  relay.createChannel(1).send('a');
  world.sleep(3_600_000);
  await world.fireTimers();
  assert.deepEqual(events, ['open false'], 'only suspicious');
  world.socket.receive({ accepted: { targetId: 1, seq: 1 } }, { pong: {} });
  await world.advance(40_000);
  assert.deepEqual(events, ['open false']);
  // The other order: the frame is read before the timer fires.
  world.sleep(3_600_000);
  world.socket.receive({ ping: {} });
  await world.advance(1000);
  world.socket.receive({ pong: {} });
  await world.advance(10_000);
  assert.deepEqual(events, ['open false']);
  // Nothing came.
  world.sleep(3_600_000);
  await world.advance(1000);
  assert.deepEqual(events, ['open false', 'close 1006 true']);
});

test('frames check the deadlines in a tab without timers', async () => {
  const { world, relay, connect, events } = start();
  await connect();
  relay.createChannel(1).send('a');
  for (let second = 0; second < 46; second++) {
    world.sleep(1000);
    world.socket.receive({ ping: {} });
  }
  assert.deepEqual(events, ['open false', 'close 1006 true']);
});

test('detects a dead connection although the clock was set back', async () => {
  const { world, connect, events } = start();
  await connect();
  world.sleep(-3_600_000);
  await world.advance(3_600_000 + 46_000);
  assert.deepEqual(events, ['open false', 'close 1006 true']);
});
