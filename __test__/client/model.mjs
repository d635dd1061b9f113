// A simulation: relays, a failing network, a clock, and a server that follows the reliable protocol. The server is written
// from the protocol, independently of the client. Everything random comes from one seed.
import assert from 'node:assert/strict';
import { webcrypto } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import vm from 'node:vm';
import { build } from 'esbuild';

const { outputFiles } = await build({
  entryPoints: [process.env.RELAY_CLIENT || fileURLToPath(new URL('../../client/browser.ts', import.meta.url))],
  bundle: true,
  format: 'iife',
  write: false,
  target: 'node20',
});
const script = new vm.Script(outputFiles[0].text);

export const PING = { pingInterval: 1000, pingTimeout: 500 };

/** Returns a generator of numbers from 0 up to 1. */
export function random(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let bits = Math.imul(state ^ (state >>> 15), 1 | state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A page that runs the client, with simulated sockets and a clock that advances only when told to. */
export class World {
  now = 1_700_000_000_000;
  sockets = [];
  /** The event listeners of the page, as `[name, listener]`. */
  listeners = [];
  document = { hidden: false };
  /** Errors that the client threw in microtasks. */
  uncaught = [];
  #timers = new Map();
  #lastTimer = 0;

  /** @param more - further globals of the page */
  constructor(chance = () => 0.5, more = {}) {
    const world = this;
    class Socket {
      readyState = 0;
      sent = [];
      constructor(url) {
        this.url = url;
        world.sockets.push(this);
        world.onsocket?.(this);
      }
      send(text) {
        assert.notEqual(this.readyState, 0, 'sent before it was open');
        if (this.readyState === 1) this.sent.push(JSON.parse(text));
        if (this.readyState === 1) this.onsent?.(JSON.parse(text));
      }
      close(code, reason) {
        if (this.readyState > 1) return;
        this.readyState = 2;
        this.closedWith = { code, reason };
        this.onclosed?.();
      }
      open() {
        this.readyState = 1;
        this.onopen?.({});
      }
      receive(...frames) {
        for (const frame of frames) this.onmessage?.({ data: typeof frame === 'string' ? frame : JSON.stringify(frame) });
      }
      end(code = 1006, reason = '') {
        this.readyState = 3;
        this.onclose?.({ code, reason });
      }
    }
    const page = vm.createContext({
      console,
      queueMicrotask: (task) =>
        queueMicrotask(() => {
          try {
            task();
          } catch (error) {
            this.uncaught.push(error);
          }
        }),
      crypto: webcrypto,
      WebSocket: Socket,
      Date: { now: () => this.now },
      setTimeout: (callback, delay) => {
        assert.ok(delay >= 0 && delay < 2 ** 31, `a timer of ${delay} ms`);
        this.#timers.set(++this.#lastTimer, { at: this.now + delay, callback });
        return this.#lastTimer;
      },
      clearTimeout: (timer) => this.#timers.delete(timer),
      document: this.document,
      ...more,
      addEventListener: (name, listener) => this.#isListening(name, listener) || this.listeners.push([name, listener]),
      removeEventListener: (name, listener) => (this.listeners = this.listeners.filter((one) => one[0] !== name || one[1] !== listener)),
    });
    vm.runInContext('Math', page).random = chance;
    script.runInContext(page);
    this.WebSocketRelay = page.WebSocketRelay;
    this.Socket = Socket;
  }

  #isListening(name, listener) {
    return this.listeners.some((one) => one[0] === name && one[1] === listener);
  }

  /** Dispatches an event of the page. */
  fire(type, more) {
    for (const [name, listener] of this.listeners) if (name === type) listener({ type, ...more });
  }

  /** The newest socket. */
  get socket() {
    return this.sockets.at(-1);
  }

  get timers() {
    return this.#timers.size;
  }

  /** When the next timer is due. */
  get next() {
    return Math.min(...Array.from(this.#timers.values(), ({ at }) => at));
  }

  /** Advances the clock and fires every timer when it is due. */
  async advance(milliseconds) {
    const end = this.now + milliseconds;
    while (this.next <= end) {
      this.now = Math.max(this.now, this.next);
      await this.fireTimers();
    }
    this.now = end;
    await settled();
  }

  /** Advances the clock without firing timers, as when the machine sleeps or the tab is throttled. */
  sleep(milliseconds) {
    this.now += milliseconds;
  }

  /** Fires the timers that are due. */
  async fireTimers() {
    for (const [timer, { at, callback }] of [...this.#timers].sort(([, a], [, b]) => a.at - b.at)) {
      if (at > this.now || !this.#timers.has(timer)) continue;
      this.#timers.delete(timer);
      callback();
      await settled();
    }
  }
}

export const settled = () => new Promise(setImmediate);

/**
 * The server. Each connection has a queue in both directions, whose frames the network delivers or loses. It may be of a kind
 * that says which message a frame is only by an offset, and may have a store, from which it comes back after a crash.
 */
export class Server {
  epoch = 1;
  connections = [];
  mailboxes = new Map();
  closedChannels = new Set();
  /** The texts of the expired messages. */
  expired = new Set();
  #chance;
  #world;
  #capacity;
  #hasNumbers;
  #hasStore;
  #starts = 0;

  constructor(world, chance, { capacity, hasNumbers = true, hasStore = false }) {
    this.#world = world;
    this.#chance = chance;
    this.#capacity = capacity;
    this.#hasNumbers = hasNumbers;
    this.#hasStore = hasStore;
    world.onsocket = (socket) => {
      const connection = { socket, up: [], down: [], client: undefined, refusing: new Set(), refused: new Set(), toAccept: new Map(), sent: new Map(), named: new Map(), asked: 0, unanswered: 0, lastFrameAt: world.now, pinged: world.now };
      this.connections.push(connection);
      socket.onsent = (frame) => {
        // The first message after the client has seen a refusal says `first`.
        if (frame.relay) assert.equal(Boolean(frame.relay.first), connection.refused.delete(frame.relay.targetId), 'first');
        connection.up.push(frame);
      };
      socket.onclosed = () => connection.up.push('close');
    };
  }

  mailbox(client) {
    if (!this.mailboxes.has(client)) this.mailboxes.set(client, { offset: 0, lanes: new Map(), owner: undefined, session: undefined, connection: 0, notices: [], notice: 0 });
    return this.mailboxes.get(client);
  }

  lane(target, sender) {
    const { lanes } = this.mailbox(target);
    if (!lanes.has(sender)) lanes.set(sender, { session: undefined, seq: 0, waiting: [], stored: [] });
    return lanes.get(sender);
  }

  /**
   * Crashes and starts again. With a store it has what was committed, under other offsets, and what was received since then;
   * without one it has nothing, and says so by another epoch.
   */
  crash() {
    this.#starts++;
    for (const connection of this.connections) this.close(connection, 1012);
    if (!this.#hasStore) {
      this.epoch++;
      this.mailboxes.clear();
      this.expired.clear();
    }
    for (const mailbox of this.mailboxes.values()) {
      Object.assign(mailbox, { offset: this.#starts * 2 ** 32, owner: undefined });
      for (const lane of mailbox.lanes.values()) {
        lane.waiting = lane.stored.map((one) => ({ ...one, offset: ++mailbox.offset }));
        lane.stored = [...lane.waiting];
        // What is no longer known as a duplicate is taken once more.
        Object.assign(lane, { session: undefined, seq: 0 });
      }
    }
  }

  /** Commits what waits in a lane. What was received may stay in the store for longer. */
  commit(target, sender) {
    const lane = this.lane(target, sender);
    lane.stored.push(...lane.waiting.filter((one) => !one.isCommitted));
    for (const one of lane.waiting) one.isCommitted = true;
    if (this.#chance() < 0.7) lane.stored = lane.stored.filter((one) => lane.waiting.includes(one));
  }

  close(connection, code) {
    if (connection.closed) return;
    connection.closed = true;
    connection.down.push({ close: code });
    const mailbox = connection.client !== undefined && this.mailbox(connection.client);
    if (mailbox?.owner === connection) mailbox.owner = undefined;
  }

  /** Reads the next frame from a connection. */
  read(connection) {
    const frame = connection.up.shift();
    if (connection.closed || frame === undefined) return;
    connection.lastFrameAt = this.#world.now;
    if (frame === 'close') this.close(connection, 1000);
    else if (frame.authentication) this.#authenticate(connection, frame.authentication);
    else if (frame.relay) this.#relay(connection, frame.relay);
    else if (frame.received) this.#received(connection, frame.received);
    else this.#answered(connection, frame);
  }

  #answered(connection, frame) {
    if (frame.ping) return connection.down.push({ pong: {} });
    assert.ok(frame.pong, `the client says ${JSON.stringify(frame)}`);
    const mailbox = this.mailbox(connection.client);
    // The answer to the latest ping acknowledges every notice that was sent before the ping.
    if (--connection.unanswered === 0 && mailbox.owner === connection) mailbox.notices = mailbox.notices.filter(({ notice }) => notice > connection.asked);
  }

  #authenticate(connection, { clientId, version, session, connection: number, epoch, receipts, presence }) {
    assert.equal(version, 2);
    assert.match(session, /^[0-9a-f]{16}$/);
    assert.ok(receipts && presence);
    const mailbox = this.mailbox(clientId);
    // The client has given up this connection, whose frames arrive late.
    if (mailbox.session === session && number <= mailbox.connection) return this.close(connection, 4501);
    const resumed = mailbox.session === session && epoch === String(this.epoch);
    if (mailbox.owner) this.close(mailbox.owner, 4501);
    if (mailbox.session !== session) Object.assign(mailbox, { notices: [], notice: 0 });
    Object.assign(mailbox, { owner: connection, session, connection: number });
    connection.client = clientId;
    connection.down.push({ authenticated: { clientId, epoch: String(this.epoch), resumed, ...PING, maxPayload: 1 << 20 } });
    for (const notice of mailbox.notices) this.#notify(connection, notice);
  }

  /** Sends an expiry notice, after the acceptance of the expired messages. */
  #notify(connection, { targetId, seq, last, notice }) {
    connection.down.push({ accepted: { targetId, seq: last } });
    connection.down.push({ rejected: { targetId, seq, last, notice, code: 'ERR_MESSAGE_EXPIRED', message: 'too late' } });
  }

  /** Expires the oldest messages of a lane that are not in flight. */
  expire(target, sender, count) {
    const { owner } = this.mailbox(target);
    const lane = this.lane(target, sender);
    const waiting = lane.waiting.filter(({ offset }) => offset > (owner?.sent.get(sender) ?? 0)).slice(0, count);
    lane.waiting = lane.waiting.filter((one) => !waiting.includes(one));
    const mailbox = this.mailbox(sender);
    for (const { seq, message, session } of waiting) {
      this.expired.add(message);
      // A page is told nothing of the pages before it.
      if (session !== mailbox.session) continue;
      const before = mailbox.notices.at(-1);
      if (before?.targetId === target && before.last + 1 === seq && before.isNew) before.last = seq;
      else mailbox.notices.push({ targetId: target, seq, last: seq, notice: ++mailbox.notice, isNew: true });
    }
    for (const notice of mailbox.notices.filter(({ isNew }) => isNew)) {
      notice.isNew = false;
      if (mailbox.owner) this.#notify(mailbox.owner, notice);
    }
  }

  #relay(connection, { targetId, message, seq, first }) {
    const mailbox = this.mailbox(connection.client);
    if (mailbox.owner !== connection) return;
    const { refusing } = connection;
    if (first) refusing.delete(targetId);
    if (refusing.has(targetId)) return;
    const lane = this.lane(targetId, connection.client);
    if (lane.session !== mailbox.session) Object.assign(lane, { session: mailbox.session, seq: 0 });
    if (seq <= lane.seq) {
      connection.toAccept.set(targetId, lane.seq);
      return;
    }
    const rejected = this.closedChannels.has(`${connection.client} ${targetId}`);
    if (rejected || lane.waiting.length >= this.#capacity) {
      // A refusal names the oldest message that is outstanding.
      this.commit(targetId, connection.client);
      this.accept(connection);
      refusing.add(targetId);
      connection.down.push(
        rejected
          ? { rejected: { targetId, seq, code: 'ERR_CHANNEL_NOT_REGISTERED', message: 'no channel' } }
          : { hold: { targetId, seq, retryAfter: 50 } },
      );
      return;
    }
    lane.seq = seq;
    lane.waiting.push({ offset: ++this.mailbox(targetId).offset, message, seq, session: mailbox.session, isCommitted: !this.#hasStore });
    connection.toAccept.set(targetId, seq);
    if (this.#chance() < 0.3) this.accept(connection);
  }

  #received(connection, { senderId, offset }) {
    if (this.mailbox(connection.client).owner !== connection) return;
    assert.ok(offset <= (connection.sent.get(senderId) ?? 0), 'acknowledged a message that was not sent on this connection');
    const lane = this.lane(connection.client, senderId);
    assert.ok(lane.waiting.some((one) => one.offset === offset), 'acknowledged twice');
    lane.waiting = lane.waiting.filter((one) => one.offset > offset);
  }

  /** Sends the pending acceptances of a connection: of the messages that are committed or received. */
  accept(connection) {
    for (const [targetId, seq] of connection.toAccept) {
      const { session } = this.mailbox(connection.client);
      const pending = this.lane(targetId, connection.client).waiting.find((one) => one.session === session && !one.isCommitted);
      connection.down.push({ accepted: { targetId, seq: pending ? pending.seq - 1 : seq } });
      if (!pending) connection.toAccept.delete(targetId);
    }
  }

  /** Sends a client the next message for which its window has room. Returns whether there was one. */
  deliver(client) {
    const { owner, lanes } = this.mailbox(client);
    if (!owner) return false;
    for (const [senderId, lane] of lanes) {
      const sent = owner.sent.get(senderId) ?? 0;
      const next = lane.waiting.find(({ offset }) => offset > sent);
      if (!next || lane.waiting.indexOf(next) >= 4) continue;
      owner.sent.set(senderId, next.offset);
      const { offset, message, seq, session } = next;
      const isNamed = owner.named.get(senderId) !== session;
      owner.named.set(senderId, session);
      owner.down.push({ relay: { senderId, offset, message, ...(this.#hasNumbers && { seq, ...(isNamed && { session }) }) } });
      return true;
    }
    return false;
  }

  /** Sends heartbeats and closes connections that have been silent too long. */
  beat() {
    for (const connection of this.connections) {
      if (connection.closed) continue;
      if (this.#world.now - connection.lastFrameAt > PING.pingInterval + PING.pingTimeout) this.close(connection, 4001);
      else if (connection.client !== undefined && this.#world.now - connection.pinged >= PING.pingInterval) {
        connection.pinged = this.#world.now;
        if (connection.unanswered++ === 0) connection.asked = this.mailbox(connection.client).notice;
        connection.down.push({ ping: {} });
      }
    }
  }
}
