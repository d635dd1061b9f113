// Attacks on closing connections: peers that keep sending, or do not close.
import assert from 'node:assert/strict';
import tls from 'node:tls';
import { KIB, forEver } from './parts.mjs';
import { HEAD, Opcode, frame } from './peer.mjs';

/** Strangers that keep sending data that is discarded. Each connection ends. */
function discarded(first, chunk) {
  return {
    quick: { peers: 10, closeTimeout: 2000 },
    long: { peers: 500, closeTimeout: 5000 },
    options: ({ closeTimeout }) => ({ closeTimeout, headersTimeout: closeTimeout }),
    seen: 'connections',
    async run(a) {
      const { peers } = a.size;
      await a.many(peers, async () => {
        const peer = await a.connect();
        peer.write(first);
        await peer.pour(forEver(chunk));
        await peer.ended;
        peer.destroy();
      }, 50);
      return { sent: `${peers} connections`, count: 1 };
    },
  };
}

export const closing = {
  'data after an HTTP response': discarded('GET / HTTP/1.1\r\n\r\n', Buffer.alloc(256 * KIB)),
  'empty lines before a request': discarded('\r\n', Buffer.from('\r\n'.repeat(32 * KIB))),

  'TLS records of one byte': {
    quick: { peers: 4, records: 20_000 },
    long: { peers: 20, records: 1_000_000 },
    tls: true,
    seen: 'connections',
    async run(a) {
      const { peers, records } = a.size;
      await a.many(peers, async () => {
        const socket = tls.connect({ host: '127.0.0.1', port: a.place.port, rejectUnauthorized: false });
        socket.on('error', () => {});
        const ended = new Promise((resolve) => socket.once('end', resolve).once('close', resolve));
        socket.resume().write('GET / HTTP/1.1\r\n\r\n');
        for (let n = 0; n < records && socket.writable; n += 1) {
          // One by one: writes that wait are combined into one record.
          await new Promise((resolve) => socket.write('x', resolve));
        }
        socket.end();
        await ended;
        socket.destroy();
      }, peers);
      return { sent: `${peers * records} records`, count: 1 };
    },
  },

  'connections that do not close with the relay': {
    quick: { peers: 30, timeout: 500 },
    long: { peers: 3000, timeout: 500 },
    // Including those of the healthy clients, which are therefore all reliable.
    interrupts: true,
    options: () => ({ closeTimeout: 60_000, headersTimeout: 60_000 }),
    grows: ({ peers }) => peers * 8 * KIB,
    seen: 'connections',
    async run(a) {
      const { peers, timeout } = a.size;
      const all = await a.many(peers, async (n) => {
        if (n % 3 === 0) return (await a.connect()).write(HEAD.slice(0, 60));
        const peer = await a.open();
        // Closed by the server before, or while it closes.
        return n % 3 === 1 ? peer.write(frame(Opcode.BINARY)) : peer;
      });
      await Promise.all(all.filter((_, n) => n % 3 === 1).map(async (peer) => assert.equal(await peer.ending(), 1003)));
      await a.healthy('forget');
      const next = await a.relay('restart', { pairs: a.pairs, clients: 0, timeout });
      await a.healthy('learn', next.pairs);
      all.forEach((peer) => peer.destroy());
      return { sent: `${peers} connections`, count: 1, took: { what: 'the relay was closed', ms: next.closedIn, max: timeout + 500 } };
    },
  },
};
