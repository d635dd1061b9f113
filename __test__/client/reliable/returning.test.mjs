// Reconnecting: after which close codes, when, and how often.
import assert from 'node:assert/strict';
import test from 'node:test';
import { random } from '../model.mjs';
import { spy, start } from './page.mjs';

for (const code of [1000, 1001, 1005, 1006, 1011, 1012, 4000, 4001, 4002, 4499]) {
  test(`reconnects after ${code}`, async () => {
    const { world, connect, events } = start();
    await connect();
    world.socket.end(code);
    assert.deepEqual(events, ['open false', `close ${code} true`]);
    await world.advance(1000);
    assert.equal(world.sockets.length, 2);
  });
}

for (const [code, error] of [[1003], [1007], [1009, 'ERR_MESSAGE_TOO_BIG'], [4500, 'ERR_INCORRECT_TOKEN'], [4501, 'ERR_REPLACED'], [4502, 'ERR_UNREGISTERED'], [4503, 'ERR_TOKEN_EXPIRED'], [4504, 'ERR_TOO_MANY_OFFENCES'], [4999]]) {
  test(`closes for good after ${code} and fails outstanding messages`, async () => {
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
    world.fire('online');
    await world.advance(100_000);
    assert.equal(world.sockets.length, 1);
    relay.close();
    assert.equal(events.at(-1), `close ${code} false`);
  });
}

test('doubles the delay up to the maximum, and resets it when open', async () => {
  const { world, connect } = start({}, { chance: () => 0 });
  const waits = [];
  for (let attempt = 0; attempt < 6; attempt++) {
    world.socket.end();
    waits.push(world.next - world.now);
    await world.advance(waits.at(-1));
  }
  await connect();
  world.socket.end();
  waits.push(world.next - world.now);
  assert.deepEqual(waits, [1000, 2000, 4000, 5000, 5000, 5000, 1000]);
});

test('randomizes delays, and uses the longest when the server is overloaded', async () => {
  const { world } = start({ reconnectionDelay: 100, reconnectionDelayMax: 8000, randomizationFactor: 1 }, { chance: random(1) });
  for (let attempt = 0; attempt < 200; attempt++) {
    const later = attempt % 2;
    world.socket.end(later ? 1013 : 4003);
    const { now, sockets: { length } } = world;
    while (world.sockets.length === length) await world.advance(world.next - world.now);
    assert.ok(world.now - now <= 8000, String(world.now - now));
  }
  const fixed = start({ randomizationFactor: 0 });
  for (const code of [1013, 4003]) {
    fixed.world.socket.end(code);
    assert.equal(fixed.world.next - fixed.world.now, 5000);
    await fixed.world.advance(5000);
  }
});

test('adds the wait that a restarting server asks for to its own delay', async () => {
  const { world } = start({ reconnectionDelay: 100, randomizationFactor: 0 });
  for (const [reason, wait] of [
    ['3210 ms to wait: the server is restarting', 3310],
    ['0 ms to wait: the server is restarting', 200],
    ['the server is restarting', 400],
    ['', 800],
  ]) {
    world.socket.end(1012, reason);
    assert.equal(world.next - world.now, wait);
    await world.advance(wait);
  }
});

test('gives up after reconnectionAttempts failures in a row', async () => {
  for (const [options, sockets] of [[{ reconnectionAttempts: 3 }, 4], [{ reconnectionAttempts: 0 }, 1], [{ reconnection: false }, 1]]) {
    const { world, events } = start(options);
    for (let attempt = 0; attempt < 6; attempt++) {
      if (world.socket.readyState !== 3) world.socket.end(1006);
      await world.advance(10_000);
    }
    assert.equal(world.sockets.length, sockets);
    assert.deepEqual(events.slice(-2), ['error ERR_CONNECTION', 'close 1006 false']);
    assert.equal(world.timers, 0);
  }
});

test('reconnects at once when the page comes online, unless connected or closed', async () => {
  const { world, relay, connect } = start({ reconnectionDelay: 5000 });
  await connect();
  world.socket.end();
  world.fire('online');
  assert.equal(world.sockets.length, 2);
  world.fire('online');
  await world.advance(10_000);
  assert.equal(world.sockets.length, 2);
  relay.close();
  world.socket.end();
  world.fire('online');
  assert.deepEqual([world.sockets.length, world.timers, world.listeners.length], [2, 0, 0]);
});
