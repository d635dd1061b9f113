// Pairs of clients that exchange messages during an attack, half of them plain, half reliable. Messages are counted, checked for
// order, and timed.
import WebSocket from 'ws';
import WebSocketRelay from 'websocket-relay/client';
import { serve } from './remote.mjs';

/** Milliseconds between two messages of a client. */
const EVERY = 50;

/** A message that takes longer than this, in milliseconds, is lost. */
const PATIENCE = 30_000;

const FILLING = 'x'.repeat(200);

let sides = [];
let tokens = new Map();
let known;
/** The latencies in milliseconds, one list for each mark. */
const latencies = [[]];

/** One direction of a pair. */
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
    // A plain client does not reconnect.
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

  /** Sends at intervals, each pair at its own time. */
  talk() {
    const send = () => {
      // Closed, which is reported at the end.
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
    // A plain client learns that it is authenticated only from a message. From here on each has received one.
    sides.forEach((side) => side.channel.send(side.direction.compose()));
    await until(() => sides.every((side) => side.direction.lost === 0));
    sides.forEach((side) => side.talk());
  },

  /** Invalidates the tokens. Clients that connect wait for new ones. */
  forget() {
    known = new Promise((resolve) => (learn.resolve = resolve));
  },

  learn,

  /** Begins a new list of latencies. */
  mark: () => void latencies.push([]),

  /** Returns a summary of each list. Call it at the end: sorting takes time. */
  latencies: () =>
    latencies.slice(1).map((times) => {
      const sorted = times.sort((one, other) => one - other);
      const at = (share) => sorted[Math.floor(sorted.length * share)];
      return { p50: at(0.5), p99: at(0.99) };
    }),

  /** Stops sending, and waits for messages in flight. */
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

/** Waits until it is so, or until nothing more is expected. */
async function until(isSo) {
  const end = performance.now() + PATIENCE;
  while (!isSo() && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 10));
}
