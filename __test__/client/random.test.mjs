// Random runs with failing connections, pages that are reloaded, and a server that holds, rejects, expires messages and crashes: no
// accepted message is silently lost, none is emitted twice by one page or out of order. `SEEDS=5000` runs more seeds, `SEED=17` only that one.
import assert from 'node:assert/strict';
import test from 'node:test';
import { PING, random, Server, settled, World } from './model.mjs';

const CLIENTS = [0, 1, 2];
const STEPS = 400;
const seeds = process.env.SEED ? [Number(process.env.SEED)] : Array.from({ length: Number(process.env.SEEDS ?? 300) }, (_, index) => index + 1);

/** Three pages, each with a channel to each, and the server that they are connected to. */
class Run {
  wrong = [];
  relays = [];
  /** The class of the sockets of each relay. */
  classes = [];
  /** `sent` counts all pages of the sender, `base` those of its earlier pages, `mark` those before the last crash. `pages`: what each page of the recipient emitted. */
  pairs = CLIENTS.flatMap((from) => CLIENTS.map((to) => ({ from, to, sent: 0, base: 0, mark: 0, accepted: [], failed: [], unknown: [], expired: [], pages: [[]] })));

  constructor(seed, kind) {
    this.chance = random(seed);
    this.kind = kind;
    this.world = new World(this.chance);
    this.server = new Server(this.world, this.chance, { capacity: 1 + Math.floor(this.chance() * 8), ...kind });
    for (const client of CLIENTS) this.open(client);
  }

  pick(list) {
    return list[Math.floor(this.chance() * list.length)];
  }

  /** Opens a page of a client. */
  open(clientId) {
    const { wrong } = this;
    class WebSocket extends this.world.Socket {}
    const relay = new this.world.WebSocketRelay('server', { clientId, token: 'x', WebSocket }, { reconnectionDelay: 20, reconnectionDelayMax: 200 });
    this.relays[clientId] = relay;
    this.classes[clientId] = WebSocket;
    // Without a listener they would be printed.
    relay.on('connectError', () => {});
    relay.on('error', ({ code }) => code === 'ERR_CHANNEL_NOT_REGISTERED' || wrong.push(`error ${code}`));
    relay.on('close', ({ willReconnect, code }) => willReconnect || wrong.push(`closed for good with ${code}`));
    for (const pair of this.pairs.filter(({ from }) => from === clientId)) {
      pair.out = relay.createChannel(pair.to);
      pair.out.on('expired', (first, last) => {
        for (let seq = first; seq <= last; seq++) pair.expired.push(pair.base + seq);
      });
    }
  }

  /** Reloads a page, at once or after the server has read everything of it. */
  reload(clientId) {
    const isSudden = this.chance() < 0.5;
    const relay = this.relays[clientId];
    for (const pair of this.pairs.filter(({ from }) => from === clientId)) pair.isLeaving = true;
    relay.removeAllListeners().on('error', () => {}).close();
    for (const pair of this.pairs) {
      if (pair.from === clientId) Object.assign(pair, { isLeaving: false, base: pair.sent });
      if (pair.to === clientId) pair.pages.push([]);
    }
    for (const connection of this.server.connections.filter(({ socket }) => socket instanceof this.classes[clientId])) {
      while (connection.up.length && !isSudden) this.server.read(connection);
      connection.up.length = connection.down.length = 0;
      this.server.close(connection, 1006);
    }
    this.open(clientId);
  }

  send(pair) {
    const n = ++pair.sent;
    const settle = (error) => (pair.isLeaving ? pair.unknown : error ? pair.failed : pair.accepted).push(n);
    const seq = pair.out.send(`${pair.from}>${pair.to} ${n}`, settle);
    if (seq !== n - pair.base) this.wrong.push(`message ${n} has the number ${seq}`);
  }

  listen(pair) {
    const channel = this.relays[pair.to].createChannel(pair.from);
    const page = pair.pages.at(-1);
    if (channel.listenerCount('message')) channel.removeAllListeners('message');
    else channel.on('message', (message) => page.push(message));
  }

  up() {
    const connection = this.pick(this.server.connections);
    if (connection) this.server.read(connection);
  }

  down(connection) {
    if (!connection || connection.stuck) return;
    const { socket } = connection;
    if (socket.readyState === 0) return socket.open();
    const frame = connection.down.shift();
    if (frame?.close) socket.end(frame.close);
    // Also to a socket that the client has closed, which must be ignored.
    else if (frame) {
      const { targetId, notice } = frame.hold ?? frame.rejected ?? {};
      if (targetId !== undefined && !notice) connection.refused.add(targetId);
      socket.receive(frame);
    }
  }

  cut() {
    const connection = this.pick(this.server.connections.slice(-6));
    if (!connection || connection.socket.readyState > 2) return;
    const kind = this.chance();
    // Frames on their way are lost or arrive. The client gets a close event, or nothing more at all.
    if (kind < 0.4) connection.up.length = 0;
    if (kind < 0.7) connection.socket.end(this.pick([1006, 1001, 1012, 1011, 4000, 4001, 4002, 4003, 1013]));
    else connection.stuck = true;
    if (kind < 0.2) this.server.close(connection, 1006);
  }

  async pass(most) {
    this.world.sleep(Math.floor(this.chance() * most));
    await this.world.fireTimers();
    this.server.beat();
  }

  toggle(pair) {
    const name = `${pair.from} ${pair.to}`;
    if (!this.server.closedChannels.delete(name)) this.server.closedChannels.add(name);
  }

  crash() {
    this.server.crash();
    for (const pair of this.pairs) pair.mark = pair.sent;
  }

  accept() {
    for (const connection of this.server.connections) if (!connection.closed) this.server.accept(connection);
  }

  async step() {
    const { chance, kind, server } = this;
    const pick = (list) => this.pick(list);
    const dice = chance();
    if (dice < 0.2) this.send(pick(this.pairs));
    else if (dice < 0.5) this.up();
    else if (dice < 0.75) this.down(pick(server.connections.slice(-8)));
    else if (dice < 0.86) server.deliver(pick(CLIENTS));
    else if (dice < 0.88) this.accept();
    else if (dice < 0.91) this.listen(pick(this.pairs));
    else if (dice < 0.93) this.cut();
    else if (dice < 0.94) this.toggle(pick(this.pairs));
    else if (dice < 0.945) kind.crashes && this.crash();
    // What expired is not stored, so it is known only to a server that does not crash.
    else if (dice < 0.955) kind.hasStore ? server.commit(pick(CLIENTS), pick(CLIENTS)) : server.expire(pick(CLIENTS), pick(CLIENTS), 1 + Math.floor(chance() * 4));
    else if (dice < 0.96) this.world.fire(pick(['online', 'visibilitychange']));
    else if (dice < 0.963) kind.reloads && this.reload(pick(CLIENTS));
    else await this.pass(pick([5, 60, 60, 400, 400, 3000, 9000]));
    await settled();
  }

  /** From here on nothing fails, and everything must settle. */
  async settle() {
    const { server } = this;
    server.closedChannels.clear();
    for (const pair of this.pairs) if (!this.relays[pair.to].createChannel(pair.from).listenerCount('message')) this.listen(pair);
    const isSettled = () => this.pairs.every(({ out }) => !out.bufferedAmount) && [...server.mailboxes.values()].every(({ lanes }) => [...lanes.values()].every(({ waiting }) => !waiting.length));
    for (let round = 0; round < 400 && !(isSettled() && round > 20); round++) {
      for (const connection of server.connections) while (connection.up.length) server.read(connection);
      for (const { from, to } of this.pairs) server.commit(to, from);
      this.accept();
      for (const connection of server.connections) {
        do this.down(connection);
        while (connection.down.length && !connection.stuck);
      }
      for (const client of CLIENTS) while (server.deliver(client));
      await settled();
      await this.pass(PING.pingInterval / 4);
    }
    if (!isSettled()) this.wrong.push('it does not settle');
  }

  /** Compares what was emitted with what was sent. */
  judge({ from, to, sent, base, mark, accepted, failed, unknown, expired, pages }) {
    const { kind, server, wrong } = this;
    const name = `${from}>${to}`;
    // What a server without a store has accepted before it crashed may be lost, and only that.
    const isKept = (n) => kind.hasStore || n > mark;
    if (pages.flat().some((message) => !message.startsWith(`${name} `))) wrong.push(`${name} got a message of another pair`);
    if (new Set([...accepted, ...failed, ...unknown]).size !== sent || accepted.length + failed.length + unknown.length !== sent) wrong.push(`${name}: a callback was not called exactly once`);
    for (const page of pages) {
      const numbers = numbersOf(page).filter((n) => kind.hasNumbers || n > mark);
      for (let i = 1; i < numbers.length; i++) {
        if (numbers.indexOf(numbers[i]) < i) wrong.push(`${name}: ${numbers[i]} duplicated`);
        else if (numbers[i] < numbers[i - 1]) wrong.push(`${name}: ${numbers[i]} after ${numbers[i - 1]}`);
      }
    }
    const numbers = numbersOf(pages.flat());
    const lost = accepted.filter((n) => isKept(n) && !numbers.includes(n) && !expired.includes(n) && !(n <= base && server.expired.has(`${name} ${n}`)));
    if (lost.length) wrong.push(`${name}: lost ${lost}`);
    if (new Set(expired).size !== expired.length) wrong.push(`${name}: expired reported twice: ${expired}`);
    const mistaken = expired.filter((n) => !accepted.includes(n) || (isKept(n) && !server.expired.has(`${name} ${n}`)));
    if (mistaken.length) wrong.push(`${name}: reported as expired, but is not: ${mistaken}`);
    const untold = accepted.filter((n) => isKept(n) && n > base && server.expired.has(`${name} ${n}`) && !expired.includes(n));
    if (untold.length) wrong.push(`${name}: expired, but not reported: ${untold}`);
    // What was delivered before a crash and not accepted may be rejected after it.
    const unwanted = failed.filter((n) => n > mark && numbers.includes(n));
    if (unwanted.length) wrong.push(`${name}: failed, but delivered: ${unwanted}`);
  }
}

const numbersOf = (messages) => messages.map((message) => Number(message.split(' ')[1]));

/** Runs one seed. `wrong` has the violations found, as texts. */
async function run(seed, kind) {
  const here = new Run(seed, kind);
  for (let step = 0; step < STEPS; step++) await here.step();
  await here.settle();
  for (const pair of here.pairs) here.judge(pair);
  for (const error of here.world.uncaught) here.wrong.push(error.stack);
  for (const relay of here.relays) relay.removeAllListeners().close();
  const count = (of) => here.pairs.reduce((sum, pair) => sum + of(pair), 0);
  return { wrong: here.wrong, emitted: count(({ pages }) => pages.flat().length), expired: count(({ expired }) => expired.length), connections: here.server.connections.length };
}

for (const [name, kind] of Object.entries({
  'servers that keep running': { hasNumbers: true },
  'servers that send no numbers and crash': { hasNumbers: false, crashes: true },
  'servers that crash without a store': { hasNumbers: true, crashes: true, reloads: true },
  'servers that crash and come back with what they had committed': { hasNumbers: true, crashes: true, hasStore: true, reloads: true },
})) {
  test(`${seeds.length} seeds, ${name}: no message is lost, duplicated or reordered`, async (t) => {
    const failures = [];
    const total = { emitted: 0, expired: 0, connections: 0 };
    for (const seed of seeds) {
      let result;
      try {
        result = await run(seed, kind);
      } catch (error) {
        result = { wrong: [error.stack], emitted: 0, expired: 0, connections: 0 };
      }
      for (const what of Object.keys(total)) total[what] += result[what];
      if (result.wrong.length) failures.push(`SEED=${seed}: ${result.wrong.slice(0, 5).join('; ')}`);
    }
    t.diagnostic(`${total.emitted} messages over ${total.connections} connections, ${total.expired} expired; ${failures.length} of ${seeds.length} seeds failed`);
    assert.deepEqual(failures.slice(0, 10), []);
  });
}
