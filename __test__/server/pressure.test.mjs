// Back-pressure: a slow reader holds back its sender, so that no buffer grows without bound.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import test from 'node:test';
import { Worker } from 'node:worker_threads';
import RelayServer from 'websocket-relay';
import { Connection, WAYS, keepsSockets, pair, placeOf } from './support.mjs';

const MiB = 1 << 20;
const SIZE = 32 * 1024;
const MESSAGES = 1536;
/** A small queue and write-ahead; the rest is for the system's socket buffers. */
const LIMITS = { maxQueuedBytes: 256 * 1024, maxWriteAhead: 64 * 1024, holdTimeout: 600_000, pingTimeout: 600_000 };
const BOUND = 24 * MiB;

for (const [way, { listen }] of Object.entries(WAYS)) {
  test(`${way}: holds back the sender of a paused reader, and delivers everything when it continues`, async (t) => {
    const server = await listen(t, LIMITS);
    const [[ada, grace], others] = [pair(server), pair(server)];
    const one = await Connection.open(server, ada);
    const two = await Connection.open(server, grace);
    const [three, four] = await Promise.all(others.map((client) => Connection.open(server, client)));
    // Connected before it pauses: an absent reader holds back no sender.
    two.socket.ping();
    await once(two.socket, 'pong');
    two.socket.pause();
    const sending = one.socket._socket;
    for (let n = 0; n < MESSAGES; n += 1) one.relay(grace.id, `${n} ${'x'.repeat(SIZE)}`);
    const written = sending.bytesWritten;
    // Others continue while the sender makes progress, and for a while after.
    let taken = 0;
    for (let idle = 0; idle < 500; idle += 1) {
      three.relay(others[1].id, 'ping');
      await four.relayed();
      const now = written - sending.writableLength;
      if (now !== taken) idle = 0;
      taken = now;
    }
    assert.ok(taken < BOUND, `${taken} bytes were taken from a sender whose reader has stopped`);
    two.socket.resume();
    for (let n = 0; n < MESSAGES; n += 1) assert.ok((await two.relayed()).message.startsWith(`${n} `));
  });
}

/** Blocks this thread while a worker sends over one way and reads over another. Resolves to the worker's report. */
async function flood(server, clients, { from, to, waitsForAll }) {
  const shared = new SharedArrayBuffer(4);
  const worker = new Worker(new URL('flood.worker.mjs', import.meta.url), {
    workerData: { from, to, clients, messages: MESSAGES, size: SIZE, shared, waitsForAll },
  });
  await once(worker, 'message');
  worker.postMessage('go');
  Atomics.wait(new Int32Array(shared), 0, 0);
  const [during] = await once(worker, 'message');
  const [after] = await once(worker, 'message');
  assert.deepEqual(after, { received: MESSAGES, wrong: 0 });
  await once(worker, 'exit');
  return during;
}

test('relays without the JavaScript thread what does not need it', { skip: process.platform === 'win32' && 'nothing is taken over' }, async (t) => {
  for (const way of ['its own port', 'an http server']) {
    const server = await WAYS[way].listen(t, LIMITS);
    const place = placeOf(server);
    const { received } = await flood(server, pair(server), { from: place, to: place, waitsForAll: true });
    assert.equal(received, MESSAGES, way);
  }
});

test('holds back bridged connections in both directions while the thread is blocked', async (t) => {
  const web = keepsSockets(http.createServer()).listen(0, '127.0.0.1');
  const server = new RelayServer({ port: 0, host: '127.0.0.1', ...LIMITS });
  web.on('upgrade', (request, socket, head) => server.handleUpgrade(request, socket, head));
  t.after(() => server.close().then(() => web.close()));
  await Promise.all([once(web, 'listening'), once(server, 'listening')]);
  const own = placeOf(server);
  const bridged = { url: `ws://127.0.0.1:${web.address().port}` };
  for (const [from, to] of [
    [bridged, own],
    [own, bridged],
    [bridged, bridged],
  ]) {
    const { taken } = await flood(server, pair(server), { from, to });
    assert.ok(taken < BOUND, `${taken} bytes were taken`);
  }
});
