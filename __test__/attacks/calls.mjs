// Expensive calls of the developer, and clients whose presence is reported to many.
import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { KIB, MIB } from './parts.mjs';

export const calls = {
  'expensive calls of the developer': {
    quick: { room: 300, joins: 10, expiring: 500, expiresIn: 200 },
    long: { room: 4000, joins: 200, expiring: 100_000, expiresIn: 2000 },
    grows: ({ expiring }) => 1.5 * KIB * expiring + 100 * MIB,
    seen: 'relayedMessages',
    async run(a) {
      const { room, joins, expiring, expiresIn } = a.size;
      const { channels, joined, expired } = await a.relay('develop', { room, joins, expiring, expiresIn });
      assert.equal(channels, (room * (room - 1)) / 2);
      assert.deepEqual(joined, Array.from({ length: joins }, (_, n) => room + n));
      assert.equal(expired, expiring);
      // All channels except those of the healthy clients are gone.
      const stats = await a.relay('stats');
      assert.deepEqual([stats.channels, stats.registered], [a.pairs, 2 * a.pairs]);
      return { sent: `a room of ${room}, ${joins} that joined it, ${expiring} registrations that expired`, count: 1 };
    },
  },

  'room members that connect and disconnect': {
    quick: { members: 40, restless: 3, times: 5, wait: 10 },
    long: { members: 1000, restless: 3, times: 200, wait: 20 },
    grows: ({ members }) => members * 200 * KIB,
    seen: 'closed.1006',
    async run(a) {
      const { members, restless, times, wait } = a.size;
      const clients = await a.relay('registerRoom', members + restless);
      const [calm, moving] = [clients.slice(restless), clients.slice(0, restless)];
      const online = calm.map(() => new Map());
      const listen = async (n) => {
        const peer = await a.admitted(calm[n], { presence: true });
        const hear = (text) => {
          const { presence } = JSON.parse(text);
          if (presence) online[n].set(presence.clientId, presence.online);
        };
        peer.texts.splice(0).forEach(hear);
        peer.hear = hear;
        return peer;
      };
      const listeners = await a.many(members, listen);
      const isTold = (ids, isOnline) => online.every((told) => ids.every(({ id }) => told.get(id) === isOnline));
      const last = await Promise.all(moving.map(async (client, which) => {
        for (let n = 0; n < times; n += 1) {
          const peer = await a.admitted(client, { presence: true });
          peer.hear = () => {};
          await pause(wait);
          // One of them is disconnected by the server.
          if (which === 0) await a.relay('disconnect', client.id);
          peer.destroy();
          await pause(wait);
        }
        return a.admitted(client, { presence: true });
      }));
      // The last state reported to each is correct.
      await a.until(() => isTold(moving, true));
      const [first, ...others] = last;
      first.destroy();
      await a.until(() => isTold(moving.slice(0, 1), false) && isTold(moving.slice(1), true));
      [...listeners, ...others].forEach((peer) => peer.destroy());
      await a.relay('unregister', clients);
      return { sent: `${restless} of ${members + restless} left ${times} times`, count: (restless - 1) * times };
    },
  },
};
