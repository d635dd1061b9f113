// Floods of connections, guesses, handshakes, messages, channels and events.
import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { KIB, MIB, SOON, times } from './parts.mjs';
import { HEAD, Opcode, authentication, frame, text } from './peer.mjs';

export const floods = {
  'connections until no files are left': {
    needs: 'linux',
    quick: { files: 50, more: 50, pause: 500 },
    long: { files: 1000, more: 1000, pause: 5000 },
    seen: 'connections',
    async run(a) {
      const { files, more, pause: milliseconds } = a.size;
      const cpu = async () => {
        const before = await a.relay('stats');
        await pause(milliseconds);
        return ((await a.relay('stats')).cpu - before.cpu) / milliseconds;
      };
      // CPU time for the healthy clients.
      const usual = await cpu();
      await a.relay('limitFiles', files);
      // All at once: the system's queue may be full as well.
      const peers = Array.from({ length: files + more }, () => a.peer().write(HEAD));
      const opened = () => peers.filter(({ status, isOver, socket }) => status === 101 && !isOver && !socket.destroyed);
      await a.settled(() => opened().length);
      assert.ok(opened().length >= files / 2 && opened().length < files + more, `${opened().length} were opened`);
      const busy = (await cpu()) - usual;
      assert.ok(busy < 0.2, `the process took ${Math.round(busy * 100)} % of a core more while it could not accept`);
      const waiting = peers.filter(({ status }) => !status);
      const start = performance.now();
      opened().slice(0, files / 2).forEach((peer) => peer.destroy());
      await Promise.race(waiting.map((peer) => peer.until(() => peer.status)));
      const took = { what: 'the first was accepted again', ms: performance.now() - start, max: 1000 };
      await a.settled(() => opened().length);
      assert.ok(waiting.filter(({ status }) => status === 101).length >= files / 4);
      peers.forEach((peer) => peer.destroy());
      return { sent: `${files + more} connections for ${files} files, ${Math.round(busy * 100)} % more CPU`, count: 1, took };
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
      // There are places again.
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

  'all clients reconnect after a restart': {
    quick: { peers: 300 },
    long: { peers: 10_000 },
    // Including those of the healthy clients, which are therefore all reliable.
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
      // More than one sender may queue for one recipient.
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
      // While it is full the healthy clients continue, which is measured.
      await pause(1000);
      await a.relay('unregister', [...away, ...clients]);
      return { sent: `${sent} messages of ${message / KIB} KiB`, count: 1 };
    },
  },

  'channels to every client': {
    quick: { peers: 4, targets: 2000, maxOpenedChannels: 100 },
    long: { peers: 50, targets: 50_000, maxOpenedChannels: 1000 },
    options: ({ maxOpenedChannels }) => ({ authorizeAllChannels: true, maxOpenedChannels }),
    // Registered clients take memory too.
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

  'short messages in many lanes': {
    quick: { clients: 450, maxTotalBytes: 12 * MIB },
    long: { clients: 1000, maxTotalBytes: 256 * MIB },
    options: ({ maxTotalBytes }) => ({ authorizeAllChannels: true, maxTotalBytes, pingTimeout: 60_000 }),
    // Nearly what is counted: the tables of senders double when full.
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
