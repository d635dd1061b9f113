// Attacks on memory: it stays within what is counted, and is released when no longer needed.
import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { MIB, times } from './parts.mjs';
import { text } from './peer.mjs';

export const memory = {
  'every second message expired, from senders that do not read': {
    quick: { peers: 2, targets: 10, numbers: 300, milliseconds: 5000 },
    long: { peers: 20, targets: 50, numbers: 4000, milliseconds: 30_000 },
    options: () => ({ authorizeAllChannels: true, messageTtl: 50, maxTotalBytes: 64 * MIB, pingInterval: 600_000 }),
    // Messages that wait for 50 ms, and written notices.
    grows: ({ peers }) => 32 * MIB + peers * MIB,
    seen: 'rejected.ERR_MESSAGE_EXPIRED',
    async run(a) {
      const { peers, targets, numbers, milliseconds } = a.size;
      const [away, senders] = [await a.relay('register', targets), await a.relay('register', peers)];
      const before = await a.relay('stats');
      const end = performance.now() + milliseconds;
      let sent = 0;
      const all = await a.many(peers, async (n) => {
        const peer = await a.open(senders[n], true);
        await peer.until(() => peer.texts.length > 0);
        peer.socket.pause();
        for (let number = 1; number < 2 * numbers && performance.now() < end; number += 2) {
          const round = away.map(({ id }) => text({ relay: { targetId: id, message: 'x', seq: number } }));
          // The relay stops reading from a client that does not read the replies.
          await Promise.race([peer.pour([Buffer.concat(round)]), pause(end - performance.now())]);
          sent += targets;
        }
        return peer;
      });
      await a.until((stats) => stats.queuedMessages <= before.queuedMessages);
      all.forEach((peer) => peer.destroy());
      // They stay registered, but an absent client needs no memory.
      return { sent: `${sent} messages with every second number`, count: peers * targets };
    },
  },

  'lanes that were once full': {
    quick: { readers: 2, senders: 5, messages: 2000 },
    long: { readers: 8, senders: 25, messages: 10_000 },
    options: ({ messages }) => ({ authorizeAllChannels: true, maxInFlightMessages: messages, pingInterval: 600_000 }),
    // The part of each reader's mailbox that is full at a time.
    grows: ({ readers, messages }) => readers * messages * 256,
    seen: 'relayedMessages',
    async run(a) {
      const { readers, senders, messages } = a.size;
      const clients = await a.relay('register', readers + senders);
      const peers = await a.many(senders, (n) => a.open(clients[readers + n]));
      const before = await a.relay('stats');
      await a.many(readers, async (n) => {
        const reader = await a.open(clients[n], true);
        await reader.until(() => reader.texts.length > 0);
        for (const [index, peer] of peers.entries()) {
          reader.texts.length = 0;
          await peer.pour([Buffer.concat([...times(messages, text({ relay: { targetId: clients[n].id, message: 'x' } }))])]);
          const relayed = () => reader.texts.filter((frame) => frame.startsWith('{"relay"'));
          await reader.until(() => reader.texts.length >= messages && relayed().length === messages);
          // All but the last one, so that the lane is not empty.
          const { offset } = JSON.parse(relayed().at(-2)).relay;
          reader.write(text({ received: { senderId: clients[readers + index].id, offset } }));
        }
        await a.read(reader);
        reader.destroy();
      });
      const { queuedMessages } = await a.relay('stats');
      assert.ok(queuedMessages - before.queuedMessages >= readers * senders, `${queuedMessages} wait`);
      peers.forEach((peer) => peer.destroy());
      return { sent: `${readers * senders} lanes of ${messages} messages, with one left in each`, count: readers * senders * messages };
    },
  },
};
