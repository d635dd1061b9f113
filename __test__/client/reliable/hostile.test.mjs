// Invalid values from the server: nothing is thrown, no timer fires without a delay, nothing grows.
import assert from 'node:assert/strict';
import test from 'node:test';
import { settled } from '../model.mjs';
import { AUTHENTICATED, start } from './page.mjs';

const ODD = [-1, 'x', null, 1e308, [], {}, { toString: 1, valueOf: 1 }, true];

for (const value of ODD) {
  test(`a heartbeat of ${JSON.stringify(value)} counts as the default, or as endless`, async () => {
    for (const member of ['pingInterval', 'pingTimeout']) {
      const { world, connect, events } = start();
      await connect({ [member]: value });
      await world.advance(19_000);
      assert.deepEqual(events, ['open false'], member);
      world.socket.receive({ relay: { senderId: 1, message: 'x', offset: 1 } });
      await world.advance(45_500);
      assert.equal(events.length, value === 1e308 ? 1 : 2, member);
    }
  });

  test(`ignores frames with the text, code or number ${JSON.stringify(value)}`, async () => {
    const { world, relay, connect, events, relayed } = start();
    await connect();
    const emitted = [];
    const channel = relay.createChannel(1);
    for (const name of ['message', 'delivered', 'expired', 'join', 'leave']) channel.on(name, (...args) => emitted.push([name, ...args]));
    channel.send('a');
    if (typeof value !== 'string') {
      world.socket.receive(
        { error: { code: 'ERR', message: value } },
        { error: { code: value, message: '' } },
        { rejected: { targetId: 1, seq: 1, code: 'ERR', message: value } },
        { rejected: { targetId: 1, seq: 1, code: value, message: '' } },
        { relay: { senderId: 1, message: value, offset: 1 } },
      );
    }
    world.socket.receive(
      ...(value === null ? [] : ['offset', 'seq', 'session'].map((member) => ({ relay: { senderId: 1, message: '', offset: 1, [member]: value } }))),
      { accepted: { targetId: 1, seq: value } },
      { accepted: { targetId: value, seq: 1 } },
      { delivered: { targetId: 1, seq: value } },
      ...(value === true ? [] : [{ presence: { clientId: 1, online: value } }]),
      { presence: { clientId: value, online: true } },
      { authenticated: value },
    );
    if (value !== null) world.socket.receive({ rejected: { targetId: 1, seq: 1, last: 1, notice: value, code: 'ERR', message: '' } });
    await settled();
    assert.deepEqual([emitted, events, relayed(), channel.bufferedAmount], [[], ['open false'], ['1:a:1'], 1]);
    assert.deepEqual(world.uncaught, []);
  });

  test(`ignores an answer ${JSON.stringify(value)} to the authentication`, async () => {
    const { world, events } = start();
    world.socket.open();
    await settled();
    world.socket.receive({ authenticated: value });
    for (const member of ['epoch', 'resumed']) if (value !== (member === 'resumed' ? true : 'x')) world.socket.receive({ authenticated: { ...AUTHENTICATED, [member]: value } });
    assert.deepEqual(events, []);
    world.socket.receive({ authenticated: AUTHENTICATED });
    assert.deepEqual(events, ['open false']);
  });
}

test('ignores frames with a session that is not one', async () => {
  const { world, relay, connect } = start();
  await connect();
  const emitted = [];
  relay.createChannel(1).on('message', (message) => emitted.push(message));
  for (const session of ['9f86d081884c7d6', '9f86d081884c7d650', 'x'.repeat(2 ** 20), ['9f86d081884c7d65'], Array(16).fill('9'), { length: 16 }, 1234567890123456]) {
    world.socket.receive({ relay: { senderId: 1, message: 'x', offset: 1, seq: 1, session } });
  }
  world.socket.receive({ relay: { senderId: 1, message: 'y', offset: null, seq: null, session: null } });
  assert.deepEqual(emitted, ['y']);
});

test('a hold lasts an hour at most', async () => {
  const { world, relay, connect, relayed } = start();
  await connect();
  relay.createChannel(1).send('a');
  world.socket.receive({ hold: { targetId: 1, seq: 1, retryAfter: 1e308 } });
  for (let minute = 0; minute < 60; minute++) {
    assert.equal(relayed().length, 1);
    await world.advance(30_000);
    world.socket.receive({ ping: {} });
    await world.advance(30_000);
    world.socket.receive({ ping: {} });
  }
  assert.deepEqual(relayed(), ['1:a:1', '1:a:1!']);
});

test('texts from the server cannot forge log lines', async () => {
  const { world, relay, connect } = start();
  const texts = [];
  relay.on('error', ({ code, message }) => texts.push(code, message)).on('close', (info) => texts.push(info.reason));
  await connect();
  const text = '\u001b[2Ja\r\nb\u2028c\u202ed é😀';
  world.socket.receive({ error: { code: text, message: text } });
  world.socket.end(4001, text);
  const escaped = '\\x1b[2Ja\\r\\nb\\u2028c\\u202ed é😀';
  assert.deepEqual(texts, [escaped, escaped, escaped]);
});
