// Floods of requests that the JavaScript thread must verify.
import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { MIB } from './parts.mjs';
import { HEAD } from './peer.mjs';

/** Milliseconds within which an honest client is admitted once the flood has stopped. */
const SOON = 2000;

/** The addresses of the honest client and of the flood. */
const [HONEST, STRANGERS] = ['127.9.9.10', ['127.9.9.1', '127.9.9.2', '127.9.9.3']];

/**
 * A flood of requests for `verifyClient`. Each stranger waits for `stays` milliseconds, then another takes its place.
 */
function flood({ stays, path = '/', isAttached = false, isLetIn = true, own = HONEST }) {
  return {
    needs: 'linux',
    quick: { strangers: 60, milliseconds: 1500, question: 20, authTimeout: 2000 },
    long: { strangers: 300, milliseconds: 20_000, question: 20, authTimeout: 5000 },
    options: ({ question, authTimeout }) => ({ question: { milliseconds: question }, isAttached, authTimeout, closeTimeout: 500 }),
    // The system's buffers are not counted, but Node's memory for each connection of its server is.
    grows: () => (isAttached ? 96 * MIB : 16 * MIB),
    seen: 'asked',
    async run(a) {
      const { strangers, milliseconds, question } = a.size;
      const begin = performance.now();
      const end = begin + milliseconds;
      const head = HEAD.replace('GET /', `GET ${path}`);
      const { asked: before } = await a.relay('stats');
      let sent = 0;
      const come = async (n) => {
        while (performance.now() < end) {
          const peer = await a.connect({ localAddress: STRANGERS[n % STRANGERS.length] });
          peer.write(head);
          sent += 1;
          await Promise.race([peer.until(() => peer.status), pause(stays(a.size))]);
          peer.destroy();
        }
      };
      const all = Array.from({ length: strangers }, (_, n) => come(n));
      let admitted = 0;
      while (performance.now() < end) {
        // During the flood, only that an honest client does not wait behind all earlier requests.
        const peer = await knock(a, own);
        if (peer.status === 101) admitted += 1;
        peer.destroy();
        await pause(100);
      }
      if (isLetIn) assert.ok(admitted > 0, 'no honest client got in during the flood');
      const { asked } = await a.relay('stats');
      const most = (performance.now() - begin) / question + 50;
      assert.ok(asked - before <= most, `${asked - before} requests were verified, of at most ${most}`);
      const start = performance.now();
      const peer = await knock(a, own);
      assert.equal(peer.status, 101, 'an honest client is let in after the flood');
      const ms = performance.now() - start;
      peer.destroy();
      await Promise.all(all);
      const after = (await a.relay('stats')).asked;
      await pause(10 * question);
      const late = (await a.relay('stats')).asked - after;
      assert.ok(late <= 2, `${late} requests were verified although their clients had left`);
      return { sent: `${sent} requests, ${asked} verified, ${admitted} honest clients admitted meanwhile`, count: 1, took: { what: 'an honest client was admitted', ms, max: SOON } };
    },
  };
}

/** Sends an upgrade request of a client, and resolves when it is answered. */
async function knock(a, localAddress) {
  const peer = await a.connect({ localAddress });
  peer.write(HEAD);
  return peer.until(() => peer.status);
}

const leaves = () => 50;
const waits = ({ milliseconds }) => milliseconds;

export const verifyQueue = {
  'requests of strangers that leave': flood({ stays: leaves }),
  'requests of strangers that leave, on an http server': flood({ stays: leaves, isAttached: true }),
  'requests of strangers that leave, from the same address': flood({ stays: leaves, own: STRANGERS[0], isLetIn: false }),
  'requests of strangers that wait': flood({ stays: waits }),
  'requests of strangers that wait, on an http server': flood({ stays: waits, isAttached: true }),
  'requests that are never decided about': flood({ stays: waits, path: '/never' }),
};
