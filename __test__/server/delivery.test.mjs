// Every message arrives once and in order, whatever the JavaScript thread does, in every way to reach a relay.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import test from 'node:test';
import { Worker } from 'node:worker_threads';
import WebSocketRelay from 'websocket-relay/client';
import { Connection, WAYS, pair, placeOf, webSocketOf } from './support.mjs';

const require = createRequire(import.meta.url);

const STRINGS = {
  empty: '',
  '1 MiB': 'x'.repeat(1 << 20),
  'lone surrogates': '\ud800 \udc00 \udfff\ud83d',
  NUL: '\0 a \0',
  emoji: '👩‍💻🏳️‍🌈',
  'line separators': '\u2028\u2029',
  'quotes and backslashes': '"\\"\\u0041\\',
  'control characters': Array.from({ length: 33 }, (_, code) => String.fromCharCode(code)).join(''),
  'every 16-bit unit': Array.from({ length: 0x10000 }, (_, code) => String.fromCharCode(code)).join(''),
  'a frame': '{"relay":{"senderId":9,"message":"x"}}',
};

for (const [way, { listen, bypasses, isSecure }] of Object.entries(WAYS)) {
  for (const threads of bypasses ? [1, 4] : []) {
    test(`${way}: relays 100,000 messages of 1,000 pairs on ${threads} thread(s) while JavaScript is blocked`, async (t) => {
      const server = await listen(t, { threads });
      const pairs = Array.from({ length: 1000 }, () => pair(server));
      const worker = new Worker(new URL('pairs.worker.mjs', import.meta.url), {
        workerData: { place: placeOf(server), pairs, messages: 50 },
      });
      const [connected] = await once(worker, 'message');
      assert.equal(connected, 'connected');
      worker.postMessage('go');
      // The worker has reported the first message.
      assert.deepEqual(await once(worker, 'message'), ['flowing']);
      const buffer = new Int32Array(new SharedArrayBuffer(4));
      Atomics.wait(buffer, 0, 0, 5000);
      const [result] = await once(worker, 'message');
      assert.deepEqual(result, { received: 100_000, wrong: [] });
      await once(worker, 'exit');
    });
  }

  test(`${way}: keeps messages for absent clients until they connect`, async (t) => {
    const server = await listen(t);
    const [ada, grace] = pair(server);
    const one = await Connection.open(server, ada);
    for (let round = 0; round < 3; round += 1) {
      for (let n = 0; n < 500; n += 1) one.relay(grace.id, `${round} ${n}`);
      const two = await Connection.open(server, grace);
      for (let n = 0; n < 500; n += 1) assert.deepEqual(await two.relayed(), { senderId: ada.id, message: `${round} ${n}` });
      // Before connecting: events without a listener are not emitted later.
      const gone = once(server, 'disconnect');
      two.socket.close();
      await gone;
    }
  });

  test(`${way}: relays between 100 pairs of plain clients that reconnect, beside connections that break`, async (t) => {
    const server = await listen(t);
    const visit = async (self, peer, round) => {
      const [connection, stranger] = await Promise.all([Connection.open(server, self), Connection.open(server)]);
      for (let n = 0; n < 20; n += 1) {
        if (round > 0) assert.deepEqual(await connection.relayed(), { senderId: peer.id, message: `${round - 1} ${n}` });
        connection.relay(peer.id, `${round} ${n}`);
        if (n === 10) stranger.socket.terminate();
      }
      // Frames are read in order.
      connection.socket.close();
      assert.equal((await connection.closed).code, 1005);
    };
    const pairs = Array.from({ length: 100 }, () => pair(server));
    await Promise.all(
      pairs.map(async ([ada, grace]) => {
        for (let round = 0; round < 4; round += 2) {
          await visit(ada, grace, round);
          await visit(grace, ada, round + 1);
        }
      }),
    );
  });

  test(`${way}: relays between 100 pairs of reliable clients whose connections break`, async (t) => {
    const server = await listen(t);
    const Base = webSocketOf(server);
    let broken = 0;
    class Breaking extends Base {
      constructor(url) {
        super(url);
        // At a different position each time, and finally not at all.
        let left = 5 + ((broken * 7919) % 60);
        this.on('message', () => {
          left -= 1;
          if (left > 0 || broken >= 500) return;
          broken += 1;
          left = Infinity;
          this.terminate();
        });
      }
    }
    const options = { WebSocket: Breaking, reconnectionDelay: 1, reconnectionDelayMax: 10 };
    const exchange = async (self, peer) => {
      const relay = new WebSocketRelay(placeOf(server).url, { clientId: self.id, token: self.token }, options);
      const channel = relay.createChannel(peer.id);
      const all = new Promise((resolve, reject) => {
        let next = 0;
        channel.on('message', (message) => {
          if (message !== `message ${next}`) reject(new Error(`message ${next} was expected, and ${message} came`));
          next += 1;
          if (next === 101) resolve();
        });
      });
      const accepted = [];
      for (let n = 0; n < 100; n += 1) {
        accepted.push(new Promise((resolve, reject) => channel.send(`message ${n}`, (error) => (error ? reject(error) : resolve()))));
      }
      await Promise.all(accepted);
      // A duplicate would come before it.
      channel.send('message 100');
      await all;
      return relay;
    };
    const pairs = Array.from({ length: 100 }, () => pair(server));
    const relays = await Promise.all(pairs.flatMap(([ada, grace]) => [exchange(ada, grace), exchange(grace, ada)]));
    // Before the server closes, or they would keep reconnecting.
    relays.forEach((relay) => relay.close());
    assert.ok(broken >= 100, `${broken} connections broke off`);
  });

  test(`${way}: delivers every string unchanged`, async (t) => {
    const server = await listen(t);
    const [ada, grace] = pair(server);
    const relays = [ada, grace].map(
      ({ id, token }) =>
        new WebSocketRelay(placeOf(server).url, { clientId: id, token, WebSocket: webSocketOf(server) }),
    );
    t.after(() => relays.forEach((relay) => relay.close()));
    const channels = [relays[0].createChannel(grace.id), relays[1].createChannel(ada.id)];
    for (const [name, string] of Object.entries(STRINGS)) {
      for (const [from, to] of [channels, channels.toReversed?.() ?? [...channels].reverse()]) {
        const arrived = new Promise((resolve) => to.once('message', resolve));
        from.send(string);
        assert.ok((await arrived) === string, name);
      }
    }
  });

  test(`${way}: serves the published client of 0.3.3`, { skip: isSecure && 'it speaks no TLS' }, async (t) => {
    const OldRelay = require('websocket-relay-0.3.3/src/WebSocketRelay.js');
    const server = await listen(t);
    const [ada, grace] = pair(server);
    const address = placeOf(server).url.replace('ws://', '');
    const relay1 = new OldRelay(address, { clientId: ada.id, token: ada.token });
    const channel1 = relay1.createChannel(grace.id);
    await new Promise((resolve) => relay1.on('open', resolve));
    for (let n = 0; n < 200; n += 1) channel1.send(`to grace ${n}`);
    const relay2 = new OldRelay(address, { clientId: grace.id, token: grace.token });
    const channel2 = relay2.createChannel(ada.id);
    const got = { one: [], two: [] };
    const all = new Promise((resolve) => {
      const check = () => got.one.length === 200 && got.two.length === 200 && resolve();
      channel1.on('message', (message) => check(got.one.push(message)));
      channel2.on('message', (message) => check(got.two.push(message)));
    });
    await new Promise((resolve) => relay2.on('open', resolve));
    for (let n = 0; n < 200; n += 1) channel2.send(`to ada ${n}`);
    await all;
    const expected = (name) => Array.from({ length: 200 }, (_, n) => `to ${name} ${n}`);
    assert.deepEqual(got, { one: expected('ada'), two: expected('grace') });
  });
}
