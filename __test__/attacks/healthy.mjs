// Pairs of clients that talk while others attack: half of them plain, half reliable. Each message is counted, in order, and timed.
import WebSocket from 'ws';
import WebSocketRelay from 'websocket-relay/client';
import { serve } from './remote.mjs';

/** Milliseconds between two messages of a client. */
const EVERY = 50;

/** What is longer on its way than this, in milliseconds, when all has been sent, is lost. */
const PATIENCE = 30_000;

const FILLING = 'x'.repeat(200);

let sides = [];
let tokens = new Map();
let known;
/** The latencies in milliseconds, a list for each time since a mark. */
const latencies = [[]];

/** One direction: what one client sends and the other gets. */
class Direction {
  sent = 0;
  next = 0;
  missing = new Set();
  counts = { doubled: 0, reordered: 0 };

  compose() {
    this.sent += 1;
    return `${this.sent - 1} ${performance.now()} ${FILLING}`;
  }

  hear(text) {
    const [n, time] = text.split(' ', 2).map(Number);
    latencies.at(-1).push(performance.now() - time);
    if (this.missing.delete(n)) this.counts.reordered += 1;
    else if (n < this.next) this.counts.doubled += 1;
    for (; this.next < n; this.next += 1) this.missing.add(this.next);
    this.next = Math.max(this.next, n + 1);
  }

  get lost() {
    return this.missing.size + this.sent - this.next;
  }
}

class Side {
  closed = 0;
  direction = new Direction();

  constructor({ port, ca }, client, peer, reliable) {
    // A plain client does not come back.
    this.onlyOnce = !reliable;
    const Secure = class extends WebSocket {
      constructor(url) {
        super(url, { ca });
      }
    };
    const relay = new WebSocketRelay(ca ? `wss://127.0.0.1:${port}` : `127.0.0.1:${port}`, {
      ...{ clientId: client.id, token: () => known.then(() => tokens.get(client.id)) },
      ...{ reliable, reconnectionDelay: 100, reconnectionDelayMax: 500, WebSocket: Secure },
    });
    this.opened = new Promise((resolve) => relay.on('open', resolve));
    this.channel = relay.createChannel(peer.id);
    relay.on('error', () => {});
    relay.on('close', () => (this.closed += 1));
  }

  /** Sends every now and then, not all at one time. */
  talk() {
    const send = () => {
      // It would throw; that it was closed is told at the end.
      if (this.onlyOnce && this.closed > 0) clearTimeout(this.timer);
      else this.channel.send(this.direction.compose());
    };
    this.timer = setTimeout(() => (this.timer = setInterval(send, EVERY)), Math.random() * EVERY);
  }
}

serve({
  async connect({ pairs, onlyReliable, ...place }) {
    learn(pairs);
    sides = pairs.flatMap(([one, two], index) => {
      const reliable = onlyReliable || index % 2 === 1;
      const both = [new Side(place, one, two, reliable), new Side(place, two, one, reliable)];
      both.forEach((side, which) => side.channel.on('message', (text) => both[1 - which].direction.hear(text)));
      return both;
    });
    await Promise.all(sides.map((side) => side.opened));
    // A plain client is told by nobody that it is in, but for what it gets: from here on each has got something.
    sides.forEach((side) => side.channel.send(side.direction.compose()));
    await until(() => sides.every((side) => side.direction.lost === 0));
    sides.forEach((side) => side.talk());
  },

  /** The tokens are wrong from now on; whoever connects waits for those to come. */
  forget() {
    known = new Promise((resolve) => (learn.resolve = resolve));
  },

  learn,

  /** What is timed from here on counts by itself. */
  mark: () => void latencies.push([]),

  /** Of each time since a mark, what its latencies were. To be asked when all is over: to sort them takes its time too. */
  latencies: () =>
    latencies.slice(1).map((times) => {
      const sorted = times.sort((one, other) => one - other);
      const at = (share) => sorted[Math.floor(sorted.length * share)];
      return { p50: at(0.5), p99: at(0.99) };
    }),

  /** Sends no more, and waits for what is on its way. */
  async finish() {
    for (const { timer } of sides) clearTimeout(timer);
    await until(() => sides.every(({ direction }) => direction.lost === 0));
    const sum = (of) => sides.reduce((total, side) => total + of(side), 0);
    return {
      sent: sum(({ direction }) => direction.sent),
      lost: sum(({ direction }) => direction.lost),
      doubled: sum(({ direction }) => direction.counts.doubled),
      reordered: sum(({ direction }) => direction.counts.reordered),
      closed: sum(({ closed }) => closed),
    };
  },
});

function learn(pairs) {
  tokens = new Map(pairs.flat().map(({ id, token }) => [id, token]));
  known ??= Promise.resolve();
  learn.resolve?.();
}

/** Until it is so, or nothing is to be expected any more. */
async function until(isSo) {
  const end = performance.now() + PATIENCE;
  while (!isSo() && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 10));
}
