// Reliable delivery over real sockets: the server ends connections in every state and drops what it was sent.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import test from 'node:test';
import WebSocketRelay from 'websocket-relay/client';
import { startServer } from './server.mjs';

const AUTHENTICATED = { clientId: 0, epoch: 'e1', resumed: false, pingInterval: 25_000, pingTimeout: 20_000, maxPayload: 1_048_576 };
/** Like `once` of node:events, but an 'error' does not reject it. */
const closed = (relay) => new Promise((resolve) => relay.once('close', resolve));
const quickly = { reconnectionDelay: 1, reconnectionDelayMax: 5 };

test('every message is accepted once and in order, in whatever state connections end', async (t) => {
  const server = await startServer(t);
  const relay = new WebSocketRelay(server.address, { clientId: 0, token: 'x' }, quickly);
  t.after(() => relay.close());
  const channel = relay.createChannel(1);
  const called = [];
  const sent = Array.from({ length: 200 }, (_, n) => channel.send(String(n), (error) => called.push(error ?? n)));
  assert.deepEqual(sent.slice(-1), [200]);
  const ends = [
    (peer) => peer.socket.terminate(),
    (peer) => peer.socket.close(1012),
    (peer) => peer.socket.close(4002),
    // It reads everything, answers nothing, and disappears.
    async (peer) => {
      while (peer.frames.length < 10) await peer.frame();
      peer.socket.terminate();
    },
  ];
  let stored = 0;
  for (let round = 0; stored < 200; round++) {
    const peer = await server.connection();
    if (round % 5 === 0) {
      await ends[(round / 5) % ends.length](peer);
      continue;
    }
    const { authentication } = JSON.parse(await peer.frame());
    assert.equal(authentication.connection, round + 1);
    if (round % 5 === 1) {
      await ends[round % ends.length](peer);
      continue;
    }
    peer.socket.send(JSON.stringify({ authenticated: AUTHENTICATED }));
    for (const end = Math.min(stored + 30, 200); stored < end; ) {
      const { relay: message } = JSON.parse(await peer.frame());
      // Messages whose acceptance the client has not seen are sent again.
      if (message.seq <= stored) continue;
      assert.deepEqual(message, { targetId: 1, message: String(stored), seq: stored + 1 });
      stored++;
    }
    if (round % 2) peer.socket.send(JSON.stringify({ accepted: { targetId: 1, seq: stored } }));
    if (stored < 200) await ends[round % ends.length](peer);
    else if (!(round % 2)) peer.socket.send(JSON.stringify({ accepted: { targetId: 1, seq: stored } }));
  }
  await once(channel, 'drain');
  assert.deepEqual(called, sent.map((seq) => seq - 1));
});

test('reconnects to a server that was away, and emits only close events meanwhile', async () => {
  const server = net.createServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  const relay = new WebSocketRelay(`127.0.0.1:${port}`, { clientId: 0, token: 'x' }, quickly);
  const errors = [];
  relay.on('error', (error) => errors.push(error));
  for (let attempt = 0; attempt < 5; attempt++) {
    const info = await closed(relay);
    assert.deepEqual([info.code, info.willReconnect], [1006, true]);
  }
  server.close();
  await closed(relay);
  const last = new Promise((resolve) => relay.on('close', (info) => info.willReconnect || resolve(info)));
  relay.close();
  await last;
  assert.deepEqual(errors, []);
});
