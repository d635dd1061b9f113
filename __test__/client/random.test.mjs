// Random runs with failing connections and a server that holds, rejects, loses its store and expires messages: no accepted message is
// silently lost, duplicated or reordered. `SEEDS=5000` runs more seeds, `SEED=17` only that one.
import assert from 'node:assert/strict';
import test from 'node:test';
import { PING, random, Server, settled, World } from './model.mjs';

const CLIENTS = [0, 1, 2];
const STEPS = 400;
const seeds = process.env.SEED ? [Number(process.env.SEED)] : Array.from({ length: Number(process.env.SEEDS ?? 300) }, (_, index) => index + 1);

/** Runs one seed. Returns the violations found, as texts. */
async function run(seed, { losesStore }) {
  const chance = random(seed);
  const pick = (list) => list[Math.floor(chance() * list.length)];
  const world = new World(chance);
  const server = new Server(world, chance, { capacity: 1 + Math.floor(chance() * 8) });
  const wrong = [];
  const options = { reconnectionDelay: 20, reconnectionDelayMax: 200 };
  const relays = CLIENTS.map((clientId) => new world.WebSocketRelay('server', { clientId, token: 'x' }, options));
  const pairs = CLIENTS.flatMap((from) => CLIENTS.map((to) => ({ from, to, sent: 0, mark: 0, accepted: [], failed: [], expired: [], emitted: [], delivered: 0 })));
  for (const relay of relays) {
    // Without a listener they would be printed.
    relay.on('connectError', () => {});
    relay.on('error', ({ code }) => code === 'ERR_CHANNEL_NOT_REGISTERED' || wrong.push(`error ${code}`));
    relay.on('close', ({ willReconnect, code }) => willReconnect || wrong.push(`closed for good with ${code}`));
  }
  for (const pair of pairs) {
    pair.out = relays[pair.from].createChannel(pair.to);
    pair.out.on('delivered', (seq) => (pair.delivered = seq));
    pair.out.on('expired', (first, last) => {
      for (let n = first; n <= last; n++) pair.expired.push(n);
    });
  }

  const send = (pair) => {
    const n = ++pair.sent;
    const seq = pair.out.send(`${pair.from}>${pair.to} ${n}`, (error) => (error ? pair.failed : pair.accepted).push(n));
    if (seq !== n) wrong.push(`message ${n} has the number ${seq}`);
  };
  const listen = (pair) => {
    const channel = relays[pair.to].createChannel(pair.from);
    if (channel.listenerCount('message')) channel.removeAllListeners('message');
    else channel.on('message', (message) => pair.emitted.push(message));
  };
  const up = () => {
    const connection = pick(server.connections);
    if (connection) server.read(connection);
  };
  const down = (connection) => {
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
  };
  const cut = () => {
    const connection = pick(server.connections.slice(-6));
    if (!connection || connection.socket.readyState > 2) return;
    const kind = chance();
    // Frames on their way are lost or arrive. The client gets a close event, or nothing more at all.
    if (kind < 0.4) connection.up.length = 0;
    if (kind < 0.7) connection.socket.end(pick([1006, 1001, 1012, 1011, 4000, 4001, 4002, 4003, 1013]));
    else connection.stuck = true;
    if (kind < 0.2) server.close(connection, 1006);
  };
  const pass = async (most) => {
    world.sleep(Math.floor(chance() * most));
    await world.fireTimers();
    server.beat();
  };
  const toggle = (pair) => {
    const name = `${pair.from} ${pair.to}`;
    if (!server.closedChannels.delete(name)) server.closedChannels.add(name);
  };
  const loseStore = () => {
    server.loseStore();
    for (const pair of pairs) pair.mark = pair.sent;
  };

  for (let step = 0; step < STEPS; step++) {
    const dice = chance();
    if (dice < 0.2) send(pick(pairs));
    else if (dice < 0.5) up();
    else if (dice < 0.75) down(pick(server.connections.slice(-8)));
    else if (dice < 0.86) server.deliver(pick(CLIENTS));
    else if (dice < 0.88) pick(server.connections.filter(({ closed }) => !closed).concat([undefined])) && server.connections.forEach((one) => one.closed || server.accept(one));
    else if (dice < 0.91) listen(pick(pairs));
    else if (dice < 0.93) cut();
    else if (dice < 0.94) toggle(pick(pairs));
    else if (dice < 0.945) losesStore && chance() < 0.3 && loseStore();
    else if (dice < 0.955) server.expire(pick(CLIENTS), pick(CLIENTS), 1 + Math.floor(chance() * 4));
    else if (dice < 0.96) world.fire(pick(['online', 'visibilitychange']));
    else await pass(pick([5, 60, 60, 400, 400, 3000, 9000]));
    await settled();
  }

  // From here on nothing fails, and everything must settle.
  server.closedChannels.clear();
  for (const pair of pairs) if (!relays[pair.to].createChannel(pair.from).listenerCount('message')) listen(pair);
  const isSettled = () => pairs.every(({ out }) => !out.bufferedAmount) && [...server.mailboxes.values()].every(({ lanes }) => [...lanes.values()].every(({ waiting }) => !waiting.length));
  for (let round = 0; round < 400 && !(isSettled() && round > 20); round++) {
    for (const connection of server.connections) {
      while (connection.up.length) server.read(connection);
      if (!connection.closed) server.accept(connection);
      do down(connection);
      while (connection.down.length && !connection.stuck);
    }
    for (const client of CLIENTS) while (server.deliver(client));
    await settled();
    await pass(PING.pingInterval / 4);
  }
  if (!isSettled()) wrong.push('it does not settle');

  for (const { from, to, sent, mark, accepted, failed, expired, emitted } of pairs) {
    // Messages sent before the store was lost may be lost with it or arrive twice.
    const numbers = emitted.map((message) => Number(message.split(' ')[1])).filter((n) => n > mark);
    const name = `${from}>${to}`;
    if (emitted.some((message) => !message.startsWith(`${name} `))) wrong.push(`${name} got a message of another pair`);
    if (new Set([...accepted, ...failed]).size !== sent || accepted.length + failed.length !== sent) wrong.push(`${name}: a callback was not called exactly once`);
    for (let i = 1; i < numbers.length; i++) {
      if (numbers[i] === numbers[i - 1]) wrong.push(`${name}: ${numbers[i]} duplicated`);
      else if (numbers[i] < numbers[i - 1]) wrong.push(`${name}: ${numbers[i]} after ${numbers[i - 1]}`);
    }
    const lost = accepted.filter((n) => n > mark && !numbers.includes(n) && !expired.includes(n));
    if (lost.length) wrong.push(`${name}: lost ${lost}`);
    if (new Set(expired).size !== expired.length) wrong.push(`${name}: expired reported twice: ${expired}`);
    const mistaken = expired.filter((n) => !accepted.includes(n) || (n > mark && !server.expired.has(`${from} ${to} ${n}`)));
    if (mistaken.length) wrong.push(`${name}: reported as expired, but is not: ${mistaken}`);
    const untold = accepted.filter((n) => n > mark && server.expired.has(`${from} ${to} ${n}`) && !expired.includes(n));
    if (untold.length) wrong.push(`${name}: expired, but not reported: ${untold}`);
    const unwanted = failed.filter((n) => numbers.includes(n));
    if (unwanted.length) wrong.push(`${name}: failed, but delivered: ${unwanted}`);
  }
  for (const error of world.uncaught) wrong.push(error.stack);
  for (const relay of relays) relay.removeAllListeners().close();
  const count = (what) => pairs.reduce((sum, pair) => sum + pair[what].length, 0);
  return { wrong, emitted: count('emitted'), expired: count('expired'), connections: server.connections.length };
}

for (const losesStore of [false, true]) {
  test(`${seeds.length} seeds${losesStore ? ', with servers that lose their store' : ''}: no message is lost, duplicated or reordered`, async (t) => {
    const failures = [];
    let emitted = 0;
    let expired = 0;
    let connections = 0;
    for (const seed of seeds) {
      let result;
      try {
        result = await run(seed, { losesStore });
      } catch (error) {
        result = { wrong: [error.stack], emitted: 0, expired: 0, connections: 0 };
      }
      emitted += result.emitted;
      expired += result.expired;
      connections += result.connections;
      if (result.wrong.length) failures.push(`SEED=${seed}: ${result.wrong.slice(0, 5).join('; ')}`);
    }
    t.diagnostic(`${emitted} messages over ${connections} connections, ${expired} expired; ${failures.length} of ${seeds.length} seeds failed`);
    assert.deepEqual(failures.slice(0, 10), []);
  });
}
