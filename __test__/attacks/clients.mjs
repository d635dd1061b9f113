// Attacks by authenticated clients: too many messages, and forbidden ones, repeated on the next connection.
import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { HEAD, Opcode, authentication, frame, text } from './peer.mjs';

/** 'error' events of one client at once; beyond it, one per second. */
const TOLD_AT_ONCE = 100;

/** Frames written at a time. */
const BATCH = 100;

/** Makes `count` frames, numbered from 1. */
function* numbered(count, frameOf) {
  for (let from = 1; from <= count; from += BATCH) {
    const length = Math.min(BATCH, count - from + 1);
    yield Buffer.concat(Array.from({ length }, (_, n) => frameOf(from + n)));
  }
}

export const clients = {
  'a client that connects for each message': {
    quick: { loops: 8, milliseconds: 1500, rateLimit: 100, holdTimeout: 500 },
    long: { loops: 8, milliseconds: 10_000, rateLimit: 100, holdTimeout: 1000 },
    options: ({ rateLimit, holdTimeout }) => ({ rateLimit, holdTimeout }),
    seen: 'closed.4003',
    async run(a) {
      const { loops, milliseconds, rateLimit } = a.size;
      const [[client, recipient]] = await a.relay('registerPairs', 1);
      const message = text({ relay: { targetId: recipient.id, message: 'x' } });
      const bytes = Buffer.concat([Buffer.from(HEAD), authentication(client), message]);
      const start = performance.now();
      let connections = 0;
      const send = async (isEnough, more = []) => {
        const peer = await a.connect();
        peer.write(Buffer.concat([bytes, ...more, frame(Opcode.PING)]));
        connections += 1;
        await peer.until(() => isEnough(peer));
        peer.destroy();
        return peer.code;
      };
      const check = async () => {
        const [taken, seconds] = [await a.relay('queuedMessages', recipient.id), (performance.now() - start) / 1000];
        assert.ok(taken > 0 && taken <= rateLimit + 1 + rateLimit * seconds, `${taken} messages were taken in ${seconds} s`);
        return taken;
      };
      // Several at a time, of which the newest replaces the others,
      const loop = async () => {
        while (performance.now() < start + milliseconds) await send(({ status }) => status);
      };
      await Promise.all(Array.from({ length: loops }, loop));
      await check();
      // and one after the other, each over the rate: after a while none of them is read.
      const isRead = ({ code, pongs }) => code || pongs > 0;
      const more = Array(Math.ceil(rateLimit / 4)).fill(message);
      let code;
      for (let end = performance.now() + milliseconds; code !== 4003; code = await send(isRead, more)) {
        assert.ok(performance.now() < end, 'it was never over its rate for too long');
      }
      const taken = await check();
      while ((await send(isRead)) === 4003) await pause(700);
      await a.relay('unregister', [client, recipient]);
      return { sent: `${connections} connections, a message or some each, ${taken} were taken`, count: 1 };
    },
  },

  'forbidden messages': {
    quick: { peers: 4, messages: 3000, connections: 3, room: 100, maxQueuedMessages: 1000 },
    long: { peers: 50, messages: 20_000, connections: 5, room: 1000, maxQueuedMessages: 1000 },
    options: ({ maxQueuedMessages }) => ({ maxQueuedMessages }),
    seen: 'closed.4504',
    error: 'ERR_CHANNEL_NOT_REGISTERED',
    async run(a) {
      const { peers, messages, connections, room } = a.size;
      const [start, before] = [performance.now(), (await a.relay('stats')).errors];
      const all = await a.relay('register', peers);
      const [hub, ...members] = await a.relay('registerStar', room + 1);
      const pairs = await a.relay('registerPairs', peers);
      // Without a channel, and again on the next connection.
      await a.many(peers, async (n) => {
        const targetId = all[(n + 1) % peers].id;
        for (let times = 0; times < connections; times += 1) {
          const peer = await a.open(all[n], true);
          await peer.pour(numbered(messages, (seq) => text({ relay: { targetId, message: 'x', seq, first: true } })));
          const code = await peer.ending();
          // It does not stop, and may be cut.
          assert.ok(code === 4504 || code === 1006, `closed with ${code}`);
          peer.destroy();
        }
      });
      // To a full queue, which is no offence, but is not reported without limit either.
      await a.many(peers, async (n) => {
        const [sender, { id }] = pairs[n];
        const peer = await a.open(sender);
        await peer.pour(numbered(messages, () => text({ relay: { targetId: id, message: 'x' } })));
        await a.read(peer);
        peer.destroy();
      });
      // A page that cannot know that its room is gone.
      const page = await a.open(hub, true);
      await a.read(page);
      await a.relay('unregister', members);
      await page.pour(members.map(({ id }) => text({ relay: { targetId: id, message: 'x', seq: 1 } })));
      await a.read(page);
      const rejected = page.texts.filter((frame) => frame.startsWith('{"rejected"'));
      assert.ok(rejected.length === room && !page.code, `${rejected.length} rejected, closed with ${page.code}`);
      page.destroy();
      const { errors } = await a.relay('rest');
      const most = TOLD_AT_ONCE + 1 + (performance.now() - start) / 1000;
      for (const [code, count] of [['ERR_CHANNEL_NOT_REGISTERED', peers + 1], ['ERR_QUEUE_FULL', peers]]) {
        const told = errors[code] - (before[code] ?? 0);
        assert.ok(told > 0 && told <= count * most, `${told} times ${code} of ${count} clients`);
      }
      await a.relay('unregister', [...all, hub, ...pairs.flat()]);
      return { sent: `${peers * (connections + 1) * messages} messages`, count: peers };
    },
  },
};
