// What follows when the server refuses a token, by 4500 or 4503.
import assert from 'node:assert/strict';
import test from 'node:test';
import { settled } from '../model.mjs';
import { spy, start } from './page.mjs';

const ERRORS = { 4500: 'ERR_INCORRECT_TOKEN', 4503: 'ERR_TOKEN_EXPIRED' };

/** Returns a page whose token is a function that counts its calls, and a way to refuse the token. */
function page(options) {
  let count = 0;
  const here = start({ token: () => `token ${++count}`, randomizationFactor: 0, ...options });
  const waits = [];
  /** Lets the newest connection be refused, and waits for the next one if there will be one. */
  const refuse = async (code, reason = 'refused') => {
    here.world.socket.open();
    await settled();
    here.world.socket.end(code, reason);
    waits.push(here.world.next - here.world.now);
    if (waits.at(-1) < Infinity) await here.world.advance(waits.at(-1));
  };
  const tokens = () => here.world.sockets.map(({ sent }) => sent[0]?.authentication.token);
  return { ...here, refuse, waits, tokens };
}

for (const code of [4500, 4503]) {
  test(`asks for another token after ${code}, five times in a row, with growing waits, and then ends`, async () => {
    const { world, relay, events, refuse, waits, tokens } = page();
    const failures = [];
    relay.on('connectError', (error) => failures.push(`${error.code} ${error.message}`));
    const callback = spy();
    relay.createChannel(1).send('a', callback);
    for (let count = 1; count <= 5; count++) await refuse(code);
    assert.deepEqual(events, Array(5).fill(`close ${code} true`));
    assert.deepEqual(failures, Array(5).fill('ERR_CONNECTION cannot connect to ws://server: refused'));
    assert.deepEqual(callback.calls, []);
    await refuse(code);
    assert.deepEqual(events.slice(5), [`error ${ERRORS[code]}`, `close ${code} false`]);
    assert.deepEqual(callback.calls, ['ERR_CLOSED']);
    assert.deepEqual(waits, [1000, 2000, 4000, 5000, 5000, Infinity]);
    assert.deepEqual(tokens(), ['token 1', 'token 2', 'token 3', 'token 4', 'token 5', 'token 6']);
    assert.deepEqual([world.timers, world.listeners.length], [0, 0]);
  });
}

test('a successful authentication resets the count, and nothing else does', async () => {
  const { world, connect, events, refuse } = page();
  for (let round = 0; round < 3; round++) {
    for (const code of [4500, 4503, 4500, 4503, 4500]) await refuse(code);
    await connect();
    events.length = 0;
    world.socket.end();
    await world.advance(1000);
  }
  for (const code of [4500, 1006, 4503, 1012, 4500, 1006, 4503, 4500, 1013]) await refuse(code);
  await refuse(4500);
  assert.deepEqual(events.slice(-2), ['error ERR_INCORRECT_TOKEN', 'close 4500 false']);
});

test('an open connection that is refused counts too', async () => {
  const { world, connect, events } = page({ token: () => 'x' });
  for (let count = 0; count < 7; count++) {
    await connect({ resumed: count > 0 });
    world.socket.end(4503);
    await world.advance(1000);
  }
  assert.deepEqual(events.slice(-2), ['open true', 'close 4503 true'], 'each was open in between');
});

test('what is outstanding is sent with the new token, in its session and with its numbers', async () => {
  const { world, relay, connect, refuse, relayed } = page();
  const callback = spy();
  const channel = relay.createChannel(1);
  await connect();
  for (const message of ['a', 'b', 'c']) channel.send(message, callback);
  world.socket.receive({ accepted: { targetId: 1, seq: 1 } });
  world.socket.end(1006);
  await world.advance(1000);
  await refuse(4500);
  channel.send('d', callback);
  await connect({ epoch: 'e2' });
  assert.deepEqual(relayed(), ['1:b:2', '1:c:3', '1:d:4']);
  const sessions = world.sockets.map(({ sent }) => sent[0].authentication.session);
  assert.equal(new Set(sessions).size, 1);
  world.socket.receive({ accepted: { targetId: 1, seq: 4 } });
  assert.deepEqual(callback.calls, ['ok', 'ok', 'ok', 'ok']);
});

test('a function that fails is no refusal', async () => {
  let count = 0;
  const { world, events } = page({ token: () => Promise.reject(new Error(`no ${++count}`)) });
  for (let attempt = 1; attempt <= 8; attempt++) {
    world.socket.open();
    await settled();
    await world.advance(5000);
  }
  assert.deepEqual([count, events.length, events.at(-1)], [8, 16, 'close 1006 true']);
});

for (const [how, options] of [
  ['a string', { token: 'x' }],
  ['a function of a relay that does not reconnect', { reconnection: false }],
  ['a function of a relay that gives up at once', { reconnectionAttempts: 0 }],
  ['a function of a plain relay', { reliable: false }],
]) {
  test(`${how} is not replaced`, async () => {
    for (const code of [4500, 4503]) {
      const { world, events, refuse } = page(options);
      await refuse(code);
      assert.deepEqual(events.slice(-2), [`error ${ERRORS[code]}`, `close ${code} false`]);
      assert.equal(world.sockets.length, 1);
    }
  });
}

test('other final close codes end a relay with a function', async () => {
  for (const code of [4501, 4502, 4504, 4999]) {
    const { world, events, refuse } = page();
    await refuse(code);
    assert.equal(events.at(-1), `close ${code} false`);
    assert.equal(world.sockets.length, 1);
  }
});
