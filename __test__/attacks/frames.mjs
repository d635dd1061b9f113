// Attacks with invalid, oversized, unfinished or too many frames.
import assert from 'node:assert/strict';
import { KIB, MIB, SOON, allAreClosed, begin, forEver, times } from './parts.mjs';
import { Opcode, frame, text } from './peer.mjs';

/**
 * Peers that violate the protocol, strangers and clients alternating. Each is closed with `code`; one that keeps sending may be
 * cut before it has read the code.
 */
function breaking(bytes, code, error, { stops = true } = {}) {
  return {
    quick: { peers: 20 },
    long: { peers: 2000 },
    seen: `offences.${error}`,
    error,
    async run(a) {
      const clients = await a.relay('register', a.size.peers);
      await a.many(a.size.peers, async (n) => {
        const peer = await a.open(n % 2 === 0 ? clients[n] : undefined);
        await peer.pour(bytes());
        const ended = await peer.ending();
        assert.ok(ended === code || (ended === 1006 && !stops), `closed with ${ended}`);
        peer.destroy();
      });
      return { sent: `${a.size.peers} connections`, count: a.size.peers };
    },
  };
}

/** Clients that send endless messages. Each is closed with 1009. */
function endless(pieces, sizes) {
  return {
    ...breaking(pieces, 1009, 'ERR_MESSAGE_TOO_BIG', { stops: false }),
    ...sizes,
    options: ({ maxPayload }) => ({ maxPayload, maxUnauthenticatedPayload: 4 * KIB }),
    // Assembling a message may take twice its size.
    grows: ({ peers, maxPayload = MIB }) => 2 * peers * maxPayload,
  };
}

function* followedForever(first, chunk) {
  yield first;
  yield* forEver(chunk);
}

function continuing(payload, count) {
  return Buffer.concat(Array(count).fill(frame(Opcode.CONTINUATION, payload, { fin: false })));
}

export const frames = {
  'binary frames': breaking(() => [frame(Opcode.BINARY, 'x')], 1003, 'ERR_BINARY_MESSAGE'),
  'reserved bits': breaking(() => [frame(Opcode.TEXT, '{}', { reserved: 0x40 })], 1002, 'ERR_WEBSOCKET_PROTOCOL'),
  'unmasked frames': breaking(() => [frame(Opcode.TEXT, '{}', { masked: false })], 1002, 'ERR_WEBSOCKET_PROTOCOL'),
  'text that is not UTF-8': breaking(() => [frame(Opcode.TEXT, Buffer.of(0xff))], 1007, 'ERR_INVALID_UTF8'),
  'oversize, announced': breaking(() => [frame(Opcode.TEXT, '', { length: 2 ** 40 })], 1009, 'ERR_MESSAGE_TOO_BIG'),
  'oversize, sent': {
    ...breaking(() => followedForever(frame(Opcode.TEXT, '', { length: 60 * MIB }), Buffer.alloc(256 * KIB)), 1009, 'ERR_MESSAGE_TOO_BIG', { stops: false }),
    quick: { peers: 4 },
    long: { peers: 200 },
  },
  'endless messages': endless(() => followedForever(begin, continuing('x'.repeat(1000), 50)), {
    quick: { peers: 4, maxPayload: 64 * KIB },
    long: { peers: 100 },
  }),
  'endless messages, byte by byte': endless(() => followedForever(begin, continuing('x', 10_000)), {
    quick: { peers: 4, maxPayload: 64 * KIB },
    long: { peers: 50 },
  }),
  'endless messages of empty fragments': endless(() => followedForever(begin, continuing('', 10_000)), {
    quick: { peers: 4, maxPayload: 64 * KIB },
    long: { peers: 50 },
  }),

  'pings with unread pongs': {
    quick: { peers: 2, mib: 32, ...SOON },
    long: { peers: 20, mib: 40, ...SOON },
    options: ({ pingInterval, pingTimeout, closeTimeout }) => ({ pingInterval, pingTimeout, closeTimeout }),
    grows: ({ peers }) => peers * 256 * KIB,
    seen: 'closed.4002',
    async run(a) {
      const { peers, mib } = a.size;
      const pings = Buffer.concat(Array(8 * KIB).fill(frame(Opcode.PING, 'x'.repeat(122))));
      const clients = await a.relay('register', peers);
      const flooding = await a.many(peers, async (n) => {
        const peer = await a.open(clients[n]);
        peer.socket.pause();
        await peer.pour(times(mib, pings));
        return peer;
      }, peers);
      await a.until(allAreClosed(peers * a.round));
      flooding.forEach((peer) => peer.destroy());
      return { sent: `${peers * mib} MiB of pings`, count: peers };
    },
  },

  'closes with any code and reason': {
    quick: { codes: [0, 1, 999, 1000, 1003, 1004, 1005, 1006, 1007, 1014, 1015, 1016, 2999, 3000, 4500, 4999, 5000, 65_535] },
    long: { codes: Array.from({ length: 5041 }, (_, n) => n * 13) },
    seen: 'offences.ERR_WEBSOCKET_PROTOCOL',
    error: 'ERR_WEBSOCKET_PROTOCOL',
    async run(a) {
      const { codes } = a.size;
      const may = (code) => (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
      let count = 0;
      await a.many(codes.length, async (n) => {
        const reason = ['', 'bye', 'é'.repeat(61), Buffer.of(0xff)][n % 4];
        const peer = await a.open();
        peer.write(frame(Opcode.CLOSE, Buffer.concat([Buffer.of(codes[n] >> 8, codes[n] & 0xff), Buffer.from(reason)])));
        const expected = may(codes[n]) ? (n % 4 === 3 ? 1007 : codes[n]) : 1002;
        count += Number(expected === 1002);
        assert.equal(await peer.ending(), expected, `code ${codes[n]}`);
        peer.destroy();
      });
      return { sent: `${codes.length} codes`, count };
    },
  },

  'data after the close frame': {
    quick: { peers: 10 },
    long: { peers: 1000 },
    // The attacker is busy, so its own requests may take a while.
    options: () => ({ closeTimeout: 500, headersTimeout: 60_000, authTimeout: 60_000 }),
    seen: 'offences.ERR_BINARY_MESSAGE',
    error: 'ERR_BINARY_MESSAGE',
    async run(a) {
      const { peers } = a.size;
      const pairs = await a.relay('registerPairs', peers);
      await a.many(peers, async (n) => {
        const [sender, receiver] = pairs[n];
        const relay = (message) => text({ relay: { targetId: receiver.id, message } });
        const reader = await a.open(receiver);
        const peer = await a.open(sender);
        // Closed by the client, or by the server: what follows is discarded, up to a limit.
        const last = n % 2 === 0 ? frame(Opcode.CLOSE, Buffer.of(3, 232)) : frame(Opcode.BINARY);
        peer.write(Buffer.concat([relay('before'), last, relay('behind')]));
        await peer.pour(forEver(relay('long behind')));
        peer.destroy();
        const again = await a.open(sender);
        again.write(relay('after'));
        await reader.until(() => reader.texts.length === 2);
        assert.deepEqual(reader.texts.map((frame) => JSON.parse(frame).relay.message), ['before', 'after']);
        [reader, again].forEach((open) => open.destroy());
      }, 50);
      return { sent: `${peers} connections`, count: Math.floor(peers / 2) };
    },
  },

  'half-closed connections': {
    quick: { peers: 20 },
    long: { peers: 2000 },
    seen: 'closed.1006',
    async run(a) {
      const clients = await a.relay('register', a.size.peers);
      await a.many(a.size.peers, async (n) => {
        const peer = await a.open(clients[n]);
        // Between two frames, or within one.
        if (n % 2 === 0) peer.write(begin.subarray(0, 5));
        peer.socket.end();
        await peer.ended;
        peer.destroy();
      });
      return { sent: `${a.size.peers} connections`, count: a.size.peers };
    },
  },
};
