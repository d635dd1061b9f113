// The attacks, by name. Each is run by attacker.mjs, against relay.mjs, while healthy.mjs talks.
import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { HEAD, Opcode, authentication, clientHello, frame, text } from './peer.mjs';

const KIB = 2 ** 10;
const MIB = 2 ** 20;

/** What is scaled down, so that a short run sees its end: as short as a busy machine allows. */
const SOON = { headersTimeout: 2000, authTimeout: 2000, messageTimeout: 2000, closeTimeout: 500, pingInterval: 500, pingTimeout: 2000 };

/**
 * Peers that break the protocol, strangers and clients in turn: each is closed with `code`. Who does not stop sending may find
 * the connection cut before it has read that.
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

/** Clients that begin messages without an end: each is closed with 1009. */
function endless(pieces, sizes) {
  return {
    ...breaking(pieces, 1009, 'ERR_MESSAGE_TOO_BIG', { stops: false }),
    ...sizes,
    options: ({ maxPayload }) => ({ maxPayload, maxUnauthenticatedPayload: 4 * KIB }),
    // A message that is put together may take twice its size, until it is closed.
    grows: ({ peers, maxPayload = MIB }) => 2 * peers * maxPayload,
  };
}

/** Peers that are slow at something: the server ends each of them by itself. */
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
      // A message is looked at with each heartbeat.
      const late = timeout === 'messageTimeout' ? pingInterval + pingTimeout : 0;
      const max = a.size[timeout] + late + closeTimeout + 1000;
      return { sent: `${peers} connections, a byte every ${every} ms`, count: peers, took: { what: 'the last was ended', ms: Math.max(...took), max } };
    },
  };
}

/** Whether the server has closed so many, with whatever code: that is looked at in the end. */
function allAreClosed(peers) {
  return ({ closed }) => Object.values(closed).reduce((sum, count) => sum + count, 0) >= peers;
}

async function drip(peer, bytes, every) {
  for (const byte of bytes) {
    if (peer.isOver || peer.code) break;
    peer.write(Buffer.of(byte));
    await Promise.race([pause(every), peer.ended]);
  }
  return peer;
}

function* forEver(chunk) {
  for (;;) yield chunk;
}

function* followedForEver(first, chunk) {
  yield first;
  yield* forEver(chunk);
}

function* times(count, chunk) {
  for (let n = 0; n < count; n += 1) yield chunk;
}

const begin = frame(Opcode.TEXT, 'x', { fin: false });

function continuing(payload, count) {
  return Buffer.concat(Array(count).fill(frame(Opcode.CONTINUATION, payload, { fin: false })));
}

export const attacks = {
  'binary frames': breaking(() => [frame(Opcode.BINARY, 'x')], 1003, 'ERR_BINARY_MESSAGE'),
  'reserved bits': breaking(() => [frame(Opcode.TEXT, '{}', { reserved: 0x40 })], 1002, 'ERR_WEBSOCKET_PROTOCOL'),
  'unmasked frames': breaking(() => [frame(Opcode.TEXT, '{}', { masked: false })], 1002, 'ERR_WEBSOCKET_PROTOCOL'),
  'text that is not UTF-8': breaking(() => [frame(Opcode.TEXT, Buffer.of(0xff))], 1007, 'ERR_INVALID_UTF8'),
  'oversize, announced': breaking(() => [frame(Opcode.TEXT, '', { length: 2 ** 40 })], 1009, 'ERR_MESSAGE_TOO_BIG'),
  'oversize, sent': {
    ...breaking(() => followedForEver(frame(Opcode.TEXT, '', { length: 60 * MIB }), Buffer.alloc(256 * KIB)), 1009, 'ERR_MESSAGE_TOO_BIG', { stops: false }),
    quick: { peers: 4 },
    long: { peers: 200 },
  },
  'endless messages': endless(() => followedForEver(begin, continuing('x'.repeat(1000), 50)), {
    quick: { peers: 4, maxPayload: 64 * KIB },
    long: { peers: 100 },
  }),
  'endless messages, byte by byte': endless(() => followedForEver(begin, continuing('x', 10_000)), {
    quick: { peers: 4, maxPayload: 64 * KIB },
    long: { peers: 50 },
  }),
  'endless messages, of empty fragments': endless(() => followedForEver(begin, continuing('', 10_000)), {
    quick: { peers: 4, maxPayload: 64 * KIB },
    long: { peers: 50 },
  }),

  'pings whose answers nobody reads': {
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

  'data behind the close': {
    quick: { peers: 10 },
    long: { peers: 1000 },
    // The attacker is busy: a request of its own may take a while.
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
        // Closed by the client, or by the server for what the client did: what is behind it counts for nothing, and has an end.
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
        // Between two frames, or in one.
        if (n % 2 === 0) peer.write(begin.subarray(0, 5));
        peer.socket.end();
        await peer.ended;
        peer.destroy();
      });
      return { sent: `${a.size.peers} connections`, count: a.size.peers };
    },
  },

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

  'readers that stop, and answer pings': {
    quick: { peers: 4, maxTotalBytes: 8 * MIB, maxWriteAhead: 64 * KIB, ...SOON },
    // The attacker is busy: its answers to pings take a while.
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

  'connections until there are no files': {
    needs: 'linux',
    quick: { files: 50, more: 50, pause: 500 },
    long: { files: 1000, more: 1000, pause: 5000 },
    seen: 'connections',
    async run(a) {
      const { files, more, pause: milliseconds } = a.size;
      await a.relay('limitFiles', files);
      // Not one by one: the system's queue may be full as well.
      const peers = Array.from({ length: files + more }, () => a.peer().write(HEAD));
      const opened = () => peers.filter(({ status, isOver, socket }) => status === 101 && !isOver && !socket.destroyed);
      await a.settled(() => opened().length);
      assert.ok(opened().length >= files / 2 && opened().length < files + more, `${opened().length} were opened`);
      const before = await a.relay('stats');
      await pause(milliseconds);
      const after = await a.relay('stats');
      const busy = (after.cpu - before.cpu) / milliseconds;
      assert.ok(busy < 0.3, `the process took ${Math.round(busy * 100)} % of a core while it could not accept`);
      const waiting = peers.filter(({ status }) => !status);
      const start = performance.now();
      opened().slice(0, files / 2).forEach((peer) => peer.destroy());
      await Promise.race(waiting.map((peer) => peer.until(() => peer.status)));
      const took = { what: 'the first was accepted again', ms: performance.now() - start, max: 1000 };
      await a.settled(() => opened().length);
      assert.ok(waiting.filter(({ status }) => status === 101).length >= files / 4);
      peers.forEach((peer) => peer.destroy());
      return { sent: `${files + more} connections for ${files} files, CPU ${Math.round(busy * 100)} %`, count: 1, took };
    },
  },

  'connections that do not authenticate': {
    quick: { peers: 50, more: 100, authTimeout: 2000 },
    long: { peers: 1000, more: 5000, authTimeout: 5000 },
    options: ({ peers, authTimeout }, pairs) => ({ maxConnections: 2 * pairs + peers, authTimeout }),
    seen: 'turnedAway.maxConnections',
    async run(a) {
      const { peers, more } = a.size;
      const [client] = await a.relay('register', 1);
      const all = await a.many(peers, () => a.open());
      await a.many(more, async () => {
        const peer = await a.connect();
        peer.write(HEAD);
        const code = await peer.ending();
        assert.ok(code === 1013 || code === 1006, `closed with ${code}`);
        peer.destroy();
      });
      await Promise.all(all.map(async (peer) => assert.equal(await peer.ending(), 4000)));
      all.forEach((peer) => peer.destroy());
      // There is room again.
      const late = await a.admitted(client);
      late.destroy();
      return { sent: `${peers} silent, ${more} more`, count: more };
    },
  },

  'guessed tokens': {
    needs: 'linux',
    quick: { guesses: 50 },
    long: { guesses: 20_000 },
    options: () => ({ maxAuthFailuresPerAddress: 10, maxAuthFailuresPerClient: 10 }),
    seen: 'offences.ERR_INCORRECT_TOKEN',
    error: 'ERR_INCORRECT_TOKEN',
    async run(a) {
      const { guesses } = a.size;
      const [client] = await a.relay('register', 1);
      const from = (localAddress, token) => a.connect({ localAddress }).then((peer) => peer.write(HEAD).write(authentication({ ...client, token }, true)));
      await a.many(guesses, async (n) => {
        const peer = await from('127.9.9.9', n.toString(16).padStart(32, '0'));
        assert.equal(await peer.ending(), 4500);
        peer.destroy();
      });
      const guesser = await from('127.9.9.9', client.token);
      assert.equal(await guesser.ending(), 4500, 'the right one among them is not listened to');
      const owner = await from('127.9.9.10', client.token);
      await owner.until(() => owner.texts.length > 0);
      assert.match(owner.texts[0], /authenticated/);
      [guesser, owner].forEach((peer) => peer.destroy());
      return { sent: `${guesses} guesses`, count: guesses };
    },
  },

  'half handshakes': {
    quick: { peers: 300, ...SOON },
    long: { peers: 10_000, headersTimeout: 5000 },
    options: ({ headersTimeout }) => ({ headersTimeout }),
    grows: ({ peers }) => peers * 4 * KIB,
    seen: 'turnedAway.headersTimeout',
    async run(a) {
      const { peers } = a.size;
      const all = await a.many(peers, async () => (await a.connect()).write(HEAD.slice(0, 60)));
      await Promise.all(all.map((peer) => peer.ended));
      assert.ok(all.every(({ status }) => status === undefined));
      all.forEach((peer) => peer.destroy());
      return { sent: `${peers} connections`, count: peers };
    },
  },

  'everybody comes back after a restart': {
    quick: { peers: 300 },
    long: { peers: 10_000 },
    // The connections of the healthy as well, which therefore are all reliable.
    interrupts: true,
    grows: ({ peers }) => peers * 8 * KIB,
    seen: 'connections',
    async run(a) {
      const { peers } = a.size;
      const clients = await a.relay('register', peers);
      const before = await a.many(peers, (n) => a.admitted(clients[n]));
      const ended = Promise.all(before.map((peer) => peer.ending().then(() => peer.destroy())));
      await a.healthy('forget');
      const next = await a.relay('restart', { pairs: a.pairs, clients: peers });
      await ended;
      const start = performance.now();
      await a.healthy('learn', next.pairs);
      const after = await a.many(peers, (n) => a.admitted(next.clients[n]), peers);
      const took = { what: 'the last was back', ms: performance.now() - start, max: 10_000 };
      const { connections } = await a.relay('stats');
      assert.ok(connections >= peers);
      after.forEach((peer) => peer.destroy());
      return { sent: `${peers} clients at once`, count: 0, took };
    },
  },

  'a sender that fills mailboxes': {
    quick: { recipients: 30, senders: 4, message: 16 * KIB, maxQueuedBytes: 128 * KIB, maxMailboxBytes: 256 * KIB, maxTotalBytes: 4 * MIB },
    long: { recipients: 30, senders: 4, message: 64 * KIB, maxQueuedBytes: 4 * MIB, maxMailboxBytes: 16 * MIB, maxTotalBytes: 256 * MIB },
    options: ({ maxQueuedBytes, maxMailboxBytes, maxTotalBytes }) => ({ authorizeAllChannels: true, maxQueuedBytes, maxMailboxBytes, maxTotalBytes }),
    grows: ({ maxTotalBytes }) => 1.5 * maxTotalBytes,
    seen: 'rejected.ERR_QUEUE_FULL',
    error: 'ERR_QUEUE_FULL',
    async run(a) {
      const { recipients, senders, message, maxQueuedBytes, maxMailboxBytes, maxTotalBytes } = a.size;
      const overhead = 2 * KIB + (maxMailboxBytes / message) * 64;
      const [away, clients] = [await a.relay('register', recipients), await a.relay('register', senders)];
      const peers = await Promise.all(clients.map((client) => a.open(client)));
      const chunk = 'x'.repeat(message - 2);
      let sent = 0;
      // More than one recipient may have from one sender.
      const fill = async (peer, { id }) => {
        const frame = text({ relay: { targetId: id, message: chunk } });
        const count = Math.ceil((1.5 * maxQueuedBytes) / message);
        await peer.pour(times(count, frame));
        await a.read(peer);
        sent += count;
      };
      await fill(peers[0], away[0]);
      const ofSender = await a.relay('queued', away[0].id);
      assert.ok(ofSender > maxQueuedBytes / 2 && ofSender <= maxQueuedBytes + overhead, `from one sender: ${ofSender}`);
      for (const peer of peers) await fill(peer, away[0]);
      const ofRecipient = await a.relay('queued', away[0].id);
      assert.ok(ofRecipient > maxMailboxBytes / 2 && ofRecipient <= maxMailboxBytes, `for one recipient: ${ofRecipient}`);
      await Promise.all(peers.map(async (peer) => {
        for (const recipient of away) await fill(peer, recipient);
      }));
      const { peak, queuedBytes } = await a.relay('stats');
      assert.ok(queuedBytes > maxTotalBytes / 2 && peak.queuedBytes <= maxTotalBytes, `for all: ${queuedBytes}`);
      peers.forEach((peer) => peer.destroy());
      // As long as it is full the others go on; that is measured.
      await pause(1000);
      await a.relay('unregister', [...away, ...clients]);
      return { sent: `${sent} messages of ${message / KIB} KiB`, count: 1 };
    },
  },

  'channels to everybody': {
    quick: { peers: 4, targets: 2000, maxOpenedChannels: 100 },
    long: { peers: 50, targets: 50_000, maxOpenedChannels: 1000 },
    options: ({ maxOpenedChannels }) => ({ authorizeAllChannels: true, maxOpenedChannels }),
    // Clients that are registered take memory too.
    grows: ({ peers, targets, maxOpenedChannels }) => targets * KIB + peers * maxOpenedChannels * KIB,
    seen: 'rejected.ERR_CHANNEL_NOT_REGISTERED',
    error: 'ERR_CHANNEL_NOT_REGISTERED',
    async run(a) {
      const { peers, targets, maxOpenedChannels } = a.size;
      const [away, clients] = [await a.relay('register', targets), await a.relay('register', peers)];
      const before = await a.relay('stats');
      const messages = Buffer.concat(away.map(({ id }) => text({ relay: { targetId: id, message: 'x', seq: 1 } })));
      await a.many(peers, async (n) => {
        const peer = await a.open(clients[n], true);
        await peer.pour([messages]);
        await a.read(peer);
        peer.destroy();
      });
      const after = await a.relay('stats');
      assert.equal(after.channels - before.channels, peers * maxOpenedChannels);
      await a.relay('unregister', [...away, ...clients]);
      return { sent: `${peers * targets} messages, each to another client`, count: peers };
    },
  },

  'offences while the JavaScript thread is blocked': {
    quick: { peers: 150, maxQueuedEvents: 1000, block: 1500 },
    long: { peers: 8000, maxQueuedEvents: 65_536, block: 10_000 },
    options: ({ maxQueuedEvents }) => ({ maxQueuedEvents }),
    seen: 'eventsDropped',
    error: 'ERR_EVENTS_DROPPED',
    async run(a) {
      const { peers, block } = a.size;
      const all = await a.many(peers, () => a.open());
      const blocked = a.relay('block', block);
      const offences = Buffer.concat(Array(9).fill(frame(Opcode.TEXT, 'no JSON')));
      all.forEach((peer) => peer.write(offences));
      await blocked;
      await a.until(({ offences }) => offences.ERR_INVALID_JSON >= 9 * peers * a.round);
      all.forEach((peer) => peer.destroy());
      return { sent: `${9 * peers} offences in ${block} ms`, count: 1 };
    },
  },

  'many short messages in many lanes': {
    quick: { clients: 450, maxTotalBytes: 12 * MIB },
    long: { clients: 1000, maxTotalBytes: 256 * MIB },
    options: ({ maxTotalBytes }) => ({ authorizeAllChannels: true, maxTotalBytes, pingTimeout: 60_000 }),
    // What is counted is what is taken: nearly, for the tables of who may send double when they are full.
    grows: ({ maxTotalBytes }) => 1.25 * maxTotalBytes,
    seen: 'rejected.ERR_QUEUE_FULL',
    error: 'ERR_QUEUE_FULL',
    async run(a) {
      const { clients, maxTotalBytes } = a.size;
      const [away, senders] = [await a.relay('register', clients), await a.relay('register', clients)];
      await a.many(clients, async (n) => {
        const peer = await a.open(senders[n]);
        await peer.pour([Buffer.concat(away.map(({ id }) => text({ relay: { targetId: id, message: 'x' } })))]);
        await a.read(peer);
        peer.destroy();
      });
      const { peak, queuedBytes, queuedMessages } = await a.relay('stats');
      assert.ok(queuedBytes > maxTotalBytes / 2 && peak.queuedBytes <= maxTotalBytes, `${queuedBytes} bytes count as queued`);
      await a.relay('unregister', [...away, ...senders]);
      return { sent: `${clients ** 2} messages of 1 byte, ${queuedMessages} were taken`, count: 1 };
    },
  },
};
