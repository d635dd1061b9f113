// Attacks that send or read slowly, or not at all.
import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { KIB, MIB, SOON, allAreClosed, forEver } from './parts.mjs';
import { HEAD, Opcode, authentication, clientHello, frame, text } from './peer.mjs';

/** Slow peers, each of which the server ends by itself. */
function slow(timeout, seen, drag, { tls = false } = {}) {
  return {
    quick: { peers: 10, every: 100, ...SOON },
    long: { peers: 500, every: 1000, headersTimeout: 5000, authTimeout: 10_000, messageTimeout: 5000, closeTimeout: 5000, pingInterval: 2000, pingTimeout: 2000 },
    options: ({ headersTimeout, authTimeout, messageTimeout, closeTimeout, pingInterval, pingTimeout }) => ({
      ...{ headersTimeout, authTimeout, messageTimeout, closeTimeout, pingInterval, pingTimeout },
    }),
    tls,
    seen,
    async run(a) {
      const { peers, every, closeTimeout, pingInterval, pingTimeout } = a.size;
      const clients = await a.relay('register', peers);
      const took = await a.many(peers, async (n) => {
        const start = performance.now();
        const peer = await drag(a, every, clients[n]);
        await peer.ended;
        const end = performance.now();
        peer.destroy();
        return end - start;
      }, peers);
      // The system defers silent connections for a second; messages are checked at each heartbeat.
      const late = { headersTimeout: 1000, authTimeout: 0, messageTimeout: pingInterval + pingTimeout }[timeout];
      const max = a.size[timeout] + late + closeTimeout + 1000;
      return { sent: `${peers} connections, a byte every ${every} ms`, count: peers, took: { what: 'the last was ended', ms: Math.max(...took), max } };
    },
  };
}

async function drip(peer, bytes, every) {
  for (const byte of bytes) {
    if (peer.isOver || peer.code) break;
    peer.write(Buffer.of(byte));
    await Promise.race([pause(every), peer.ended]);
  }
  return peer;
}

export const time = {
  'slow TCP': slow('headersTimeout', 'turnedAway.headersTimeout', (a) => a.connect()),
  'slow TLS': slow('headersTimeout', 'turnedAway.headersTimeout', async (a, every) => drip(await a.connect(), await clientHello(), every), { tls: true }),
  'slow HTTP heads': slow('headersTimeout', 'turnedAway.headersTimeout', async (a, every) => drip(await a.connect(), Buffer.from(HEAD), every)),
  'slow authentication': slow('authTimeout', 'closed.4000', async (a, every) =>
    drip(await a.open(), authentication({ id: 0, token: 'f'.repeat(32) }), every),
  ),
  'slow messages': slow('messageTimeout', 'closed.4002', async (a, every, client) => drip(await a.open(client), text({ slow: 'x'.repeat(1000) }), every)),

  'half-open connections': {
    quick: { peers: 10, ...SOON },
    long: { peers: 500, pingInterval: 2000, pingTimeout: 3000, closeTimeout: 500 },
    options: ({ pingInterval, pingTimeout, closeTimeout }) => ({ pingInterval, pingTimeout, closeTimeout }),
    seen: 'closed.4001',
    async run(a) {
      const { peers, pingInterval, pingTimeout } = a.size;
      const clients = await a.relay('register', peers);
      const took = await a.many(peers, async (n) => {
        const peer = await a.open(clients[n], n % 2 === 0);
        const start = performance.now();
        assert.equal(await peer.ending(), 4001);
        peer.destroy();
        return performance.now() - start;
      }, peers);
      const max = pingInterval + pingTimeout + 500;
      return { sent: `${peers} connections`, count: peers, took: { what: 'the last was found', ms: Math.max(...took), max } };
    },
  },

  'readers that stop but answer pings': {
    quick: { peers: 4, maxTotalBytes: 8 * MIB, maxWriteAhead: 64 * KIB, ...SOON },
    // The attacker is busy, so its pongs take a while.
    long: { peers: 100, maxTotalBytes: 256 * MIB, maxWriteAhead: 256 * KIB, ...SOON, pingTimeout: 10_000 },
    options: ({ maxTotalBytes, maxWriteAhead, pingInterval, pingTimeout, closeTimeout }) => ({
      ...{ maxTotalBytes, maxWriteAhead, pingInterval, pingTimeout, closeTimeout },
    }),
    grows: ({ maxTotalBytes, peers }) => 1.5 * maxTotalBytes + 2 * peers * MIB,
    seen: 'closed.4002',
    async run(a) {
      const { peers, maxTotalBytes } = a.size;
      const pairs = await a.relay('registerPairs', peers);
      const timers = [];
      const all = await a.many(peers, async (n) => {
        const [sender, receiver] = pairs[n];
        const reader = await a.open(receiver);
        reader.socket.pause();
        timers.push(setInterval(() => reader.write(frame(Opcode.PONG)), 100));
        const writer = await a.open(sender);
        const message = text({ relay: { targetId: receiver.id, message: 'x'.repeat(32 * KIB) } });
        void writer.pour(forEver(message));
        return [reader, writer];
      }, peers);
      await a.until(allAreClosed(peers * a.round));
      timers.forEach((timer) => clearInterval(timer));
      all.flat().forEach((peer) => peer.destroy());
      const { peak } = await a.relay('stats');
      assert.ok(peak.queuedBytes <= maxTotalBytes, `${peak.queuedBytes} bytes were queued`);
      await a.relay('unregister', pairs.flat());
      return { sent: `${peers} readers, each with a sender that does not stop`, count: peers };
    },
  },
};
