// Registering and unregistering clients and channels, and their state.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import test from 'node:test';
import { happened, openClient } from './client.mjs';
import { Connection, listen, pair, run } from './support.mjs';

test('closes an unregistered client for good, and tells its peers that it left', async (t) => {
  const server = await listen(t);
  const [ada, grace] = pair(server);
  const [one, two] = [openClient(t, server, ada), openClient(t, server, grace)];
  const channel = one.createChannel(grace.id);
  await happened(channel, 'join');
  const disconnected = once(server, 'disconnect');
  const [left, closed] = [happened(channel, 'leave'), happened(two, 'close')];
  assert.equal(server.unregisterClient(grace.id), undefined);
  await left;
  assert.deepEqual(await closed, [{ code: 4502, reason: 'unregistered', willReconnect: false }]);
  assert.deepEqual(await disconnected, [grace.id, 4502, 'unregistered']);
  const error = await new Promise((resolve) => channel.send('late', resolve));
  assert.equal(error.code, 'ERR_CHANNEL_NOT_REGISTERED');
  assert.deepEqual([...server.clients()].map(({ id }) => id), [ada.id]);
  assert.equal(server.registerClient().id, 2);
});

test('registers an unregistered channel again', async (t) => {
  const server = await listen(t);
  const [ada, grace] = pair(server);
  const [one, two] = [openClient(t, server, ada), openClient(t, server, grace)];
  const [to, from] = [one.createChannel(grace.id), two.createChannel(ada.id)];
  await happened(to, 'join');
  const left = happened(to, 'leave');
  server.unregisterRelayChannel(grace.id, ada.id);
  await left;
  assert.equal((await new Promise((resolve) => to.send('refused', resolve))).code, 'ERR_CHANNEL_NOT_REGISTERED');
  assert.equal(server.stats().rejected.ERR_CHANNEL_NOT_REGISTERED, 1);
  const joined = happened(to, 'join');
  server.registerRelayChannel(ada.id, grace.id);
  await joined;
  to.send('taken');
  assert.deepEqual(await happened(from, 'message'), ['taken']);
  server.unregisterRelayChannel(ada.id, grace.id);
  assert.throws(() => server.unregisterRelayChannel(ada.id, grace.id), {
    name: 'ClientsHaveNoChannel',
    code: 'ERR_CHANNEL_NOT_FOUND',
    message: 'these clients have no channel',
  });
});

test('accepts a refreshed token, rejects the old one, and keeps the connection', async (t) => {
  const server = await listen(t);
  const [ada, grace] = pair(server);
  const [one, two] = [await Connection.open(server, ada), await Connection.open(server, grace)];
  one.relay(grace.id, 'before');
  assert.equal((await two.relayed()).message, 'before');
  const token = server.refreshToken(ada.id);
  assert.match(token, /^[0-9a-f]{32}$/);
  assert.equal((await (await Connection.open(server, ada)).closed).code, 4500);
  one.relay(grace.id, 'after');
  assert.equal((await two.relayed()).message, 'after');
  const again = await Connection.open(server, { ...ada, token });
  assert.equal((await one.closed).code, 4501);
  again.relay(grace.id, 'anew');
  assert.equal((await two.relayed()).message, 'anew');
});

test('keeps a disconnected client registered; it reconnects unless the code is final', async (t) => {
  const server = await listen(t);
  const [ada, grace] = pair(server);
  assert.equal(server.disconnectClient(ada.id), false);
  const [one, two] = [openClient(t, server, ada, { reconnectionDelay: 1 }), openClient(t, server, grace)];
  await Promise.all([happened(one, 'open'), happened(two, 'open')]);
  const closed = happened(one, 'close');
  assert.equal(server.isConnected(ada.id), true);
  assert.equal(server.disconnectClient(ada.id), true);
  assert.deepEqual(await closed, [{ code: 1000, reason: '', willReconnect: true }]);
  await happened(one, 'open');
  const final = happened(one, 'close');
  const told = once(server, 'disconnect');
  assert.equal(server.disconnectClient(ada.id, 4999, 'banned 🙂'), true);
  assert.equal(server.isConnected(ada.id), false);
  assert.deepEqual(await told, [ada.id, 4999, 'banned 🙂']);
  assert.deepEqual(await final, [{ code: 4999, reason: 'banned 🙂', willReconnect: false }]);
  for (const [args, name, text] of [
    [['1000'], 'TypeError', /^code must be 1000 or an integer from 3000 to 4999; received '1000'/],
    [[1001], 'RangeError', /^code .* received 1001/],
    [[5000], 'RangeError', /^code /],
    [[4000.5], 'RangeError', /^code /],
    [[4000, 7], 'TypeError', /^reason must be a string; received 7/],
    [[4000, 'é'.repeat(62)], 'RangeError', /^reason must be at most 123 bytes/],
  ]) {
    assert.throws(() => server.disconnectClient(ada.id, ...args), { name, message: text });
  }
});

test('expires a registration with its undelivered messages', async (t) => {
  const server = await listen(t);
  const data = { user: 'ada' };
  const ada = server.registerClient({ expiresIn: 3_600_000, data });
  const grace = server.registerClient({});
  server.registerRelayChannel(ada.id, grace.id);
  const heard = [];
  for (const name of ['connection', 'disconnect', 'expired']) server.on(name, (...args) => heard.push([name, ...args]));
  const one = openClient(t, server, ada);
  const [two] = await Promise.all([Connection.open(server, grace), happened(one, 'open')]);
  // The recipient is not connected, so they wait.
  for (let n = 0; n < 3; n += 1) two.relay(ada.id, String(n));
  while ([...server.clients()][0].queuedMessages < 3) await new Promise(setImmediate);
  const closed = happened(one, 'close');
  const expired = once(server, 'expired');
  server.refreshToken(ada.id, { expiresIn: 1 });
  assert.deepEqual(await closed, [{ code: 4503, reason: 'token expired', willReconnect: false }]);
  assert.deepEqual(await expired, [ada.id, 3, data]);
  assert.deepEqual(
    heard.filter(([, id]) => id === ada.id),
    [
      ['connection', ada.id, data],
      ['disconnect', ada.id, 4503, 'token expired', data],
      ['expired', ada.id, 3, data],
    ],
  );
  assert.throws(() => server.refreshToken(ada.id), { name: 'ClientNotFoundException' });
  assert.equal(server.stats().registered, 1);
});

test('checks the options of a registration', async (t) => {
  const server = await listen(t);
  for (const [options, name, text] of [
    [null, 'TypeError', /^options must be an object; received null/],
    [7, 'TypeError', /^options must be an object; received 7/],
    [{ expiresIn: '1' }, 'TypeError', /^options\.expiresIn must be an integer .*\(milliseconds\); received '1'/],
    [{ expiresIn: 0 }, 'RangeError', /^options\.expiresIn .* received 0/],
    [{ expiresIn: 1.5 }, 'RangeError', /^options\.expiresIn /],
    [{ expiresIn: Infinity }, 'RangeError', /^options\.expiresIn /],
  ]) {
    assert.throws(() => server.registerClient(options), { name, message: text });
    assert.throws(() => server.refreshToken(0, options), { name, message: text });
  }
  assert.equal(server.stats().registered, 0);
  const longest = server.registerClient({ expiresIn: Number.MAX_SAFE_INTEGER });
  assert.equal(server.isConnected(longest.id), false);
});

test('names an unknown id', async (t) => {
  const server = await listen(t);
  server.registerClient();
  const calls = {
    unregisterClient: (id) => server.unregisterClient(id),
    refreshToken: (id) => server.refreshToken(id),
    disconnectClient: (id) => server.disconnectClient(id),
    isConnected: (id) => server.isConnected(id),
    unregisterRelayChannel: (id) => server.unregisterRelayChannel(0, id),
    registerRelayChannels: (id) => server.registerRelayChannels([0, id]),
    'registerRelayChannels, joining': (id) => server.registerRelayChannels(id, [0]),
    'registerRelayChannels, joined': (id) => server.registerRelayChannels(0, [0, id]),
  };
  for (const [call, attempt] of Object.entries(calls)) {
    for (const [id, Kind] of [[1, Error], [Number.MAX_SAFE_INTEGER, Error], ['0', TypeError], [undefined, TypeError], [-1, RangeError], [0.5, RangeError]]) {
      const isNotFound = (error) =>
        error.constructor === Kind && error.name === 'ClientNotFoundException' && error.code === 'ERR_CLIENT_NOT_FOUND';
      assert.throws(() => attempt(id), isNotFound, `${call}(${String(id)})`);
    }
  }
  for (const ids of [undefined, null, 0, '01']) {
    assert.throws(() => server.registerRelayChannels(ids), { name: 'TypeError', message: /^clientIds must be an iterable/ });
    if (ids !== undefined) assert.throws(() => server.registerRelayChannels(0, ids), { name: 'TypeError', message: /^clientIds must be an iterable/ });
  }
  assert.equal(server.stats().channels, 0, 'nothing has changed');
});

test('connects a client that joins a room to each of the others only', async (t) => {
  const server = await listen(t);
  const [newcomer, ...others] = Array.from({ length: 200 }, () => server.registerClient());
  const ids = others.map(({ id }) => id);
  assert.equal(server.registerRelayChannels(newcomer.id, ids.slice(0, 70)), 70);
  assert.equal(server.registerRelayChannels(newcomer.id, new Set([...ids, newcomer.id])), 129);
  assert.equal(server.registerRelayChannels(newcomer.id, ids), 0);
  assert.equal(server.registerRelayChannels(newcomer.id, []), 0);
  assert.equal(server.stats().channels, 199);
  const [one, two] = await Promise.all([newcomer, others[150]].map((client) => Connection.open(server, client)));
  one.relay(others[150].id, 'hello');
  assert.equal((await two.relayed()).message, 'hello');
  two.relay(newcomer.id, 'welcome');
  assert.equal((await one.relayed()).message, 'welcome');
  assert.throws(() => server.unregisterRelayChannel(newcomer.id, newcomer.id), { name: 'ClientsHaveNoChannel' });
  assert.throws(() => server.unregisterRelayChannel(ids[0], ids[1]), { name: 'ClientsHaveNoChannel' });
  server.unregisterClient(others[0].id);
  assert.equal(server.stats().channels, 198);
  server.unregisterClient(newcomer.id);
  assert.equal(server.stats().channels, 0);
});

test('registers each channel of a room once', async (t) => {
  const server = await listen(t);
  const room = Array.from({ length: 4 }, () => server.registerClient());
  const ids = room.map(({ id }) => id);
  assert.equal(server.registerRelayChannels(new Set(ids.slice(0, 3))), 3);
  assert.equal(server.registerRelayChannels([...ids, ids[0]]), 3);
  assert.equal(server.stats().channels, 6);
  const connections = await Promise.all(room.map((client) => Connection.open(server, client)));
  for (const [place, connection] of connections.entries()) {
    const others = ids.filter((id) => id !== ids[place]);
    for (const id of others) connection.relay(id, 'hello');
  }
  for (const [place, connection] of connections.entries()) {
    const senders = [];
    for (let n = 0; n < 3; n += 1) senders.push((await connection.relayed()).senderId);
    assert.deepEqual(senders.sort(), ids.filter((id) => id !== ids[place]));
  }
});

test('clients() returns connections and undelivered messages', async (t) => {
  const server = await listen(t);
  const [ada, grace] = pair(server);
  const alan = server.registerClient({ data: 'alan' });
  const one = await Connection.open(server, ada);
  for (let n = 0; n < 5; n += 1) one.relay(grace.id, 'x'.repeat(10));
  while (server.stats().queuedMessages < 5) await new Promise(setImmediate);
  const clients = server.clients();
  assert.deepEqual(clients.next().value, { id: ada.id, connected: true, queuedMessages: 0, queuedBytes: 0, data: undefined });
  server.unregisterClient(alan.id);
  assert.deepEqual([...clients], [{ id: grace.id, connected: false, queuedMessages: 5, queuedBytes: 320 + 5 * (12 + 64), data: undefined }]);
  const again = server.registerClient({ data: 'alan' });
  assert.equal([...server.clients()].at(-1).data, 'alan');
  assert.equal(again.id, 3);
});

test('stats() counts everything', async (t) => {
  const server = await listen(t);
  const nothing = {
    connections: 0,
    registered: 0,
    channels: 0,
    queuedMessages: 0,
    queuedBytes: 0,
    relayedMessages: 0,
    relayedBytes: 0,
    rejected: {},
    offences: {},
    turnedAway: {},
    closed: {},
    eventsDropped: 0,
    panics: 0,
    store: null,
  };
  assert.deepEqual(server.stats(), nothing);
  const [ada, grace] = pair(server);
  const [one, two, stranger] = [await Connection.open(server, ada), await Connection.open(server, grace), await Connection.open(server)];
  one.relay(grace.id, 'hello');
  await two.relayed();
  one.relay(7, 'nobody');
  await once(server, 'error').catch(() => {});
  stranger.send('no JSON');
  await once(server, 'error').catch(() => {});
  assert.deepEqual(server.stats(), {
    ...nothing,
    connections: 3,
    registered: 2,
    channels: 1,
    relayedMessages: 1,
    relayedBytes: 7,
    rejected: { ERR_CHANNEL_NOT_REGISTERED: 1 },
    offences: { ERR_CHANNEL_NOT_REGISTERED: 1, ERR_INVALID_JSON: 1 },
  });
  one.socket.close();
  two.socket.terminate();
  for (let n = 0; n < 9; n += 1) stranger.send('no JSON');
  await stranger.closed;
  while (server.stats().connections > 0) await new Promise(setImmediate);
  assert.deepEqual(server.stats().closed, { 1006: 1, 4504: 1 });
});

// AddressSanitizer keeps freed memory for a while.
test('frees the memory of many registrations', { skip: process.env.ASAN_OPTIONS && 'memory is kept' }, async () => {
  const { stdout, stderr, code } = await run(`
    import v8 from 'node:v8';
    import vm from 'node:vm';
    import RelayServer from 'websocket-relay';
    v8.setFlagsFromString('--expose-gc');
    const gc = vm.runInNewContext('gc');
    const server = new RelayServer({ port: 0, host: '127.0.0.1' });
    server.on('listening', () => {
      const rss = () => { gc(); return process.memoryUsage().rss / 2 ** 20; };
      const constant = server.registerClient();
      // Half of them at once, the others one by one.
      const round = (count) => {
        const ids = Array.from({ length: count / 2 }, () => server.registerClient({ expiresIn: 3_600_000, data: {} }).id);
        for (const id of ids) server.registerRelayChannel(constant.id, id);
        for (const id of ids) server.unregisterClient(id);
        for (let n = 0; n < count / 2; n += 1) {
          const { id } = server.registerClient();
          server.registerRelayChannel(constant.id, id);
          server.refreshToken(id);
          server.unregisterClient(id);
        }
      };
      round(20_000);
      const before = rss();
      round(Number(process.argv[1]));
      console.log(JSON.stringify({ before, grown: rss() - before, stats: server.stats() }));
      server.close();
    });
    `, '200000');
  assert.equal(code, 0, stderr);
  const { grown, stats } = JSON.parse(stdout);
  assert.deepEqual([stats.registered, stats.channels], [1, 0]);
  // Leaked, 200,000 clients would take more than 60 MiB.
  assert.ok(grown < 30, `${grown} MiB`);
});

test('NODE_DEBUG traces events without tokens', async () => {
  process.env.NODE_DEBUG = 'websocket-relay';
  const running = run(`
    import RelayServer from 'websocket-relay';
    import WebSocket from 'ws';
    const server = new RelayServer({ port: 0, host: '127.0.0.1' }, () => {
      const [ada, grace] = [server.registerClient(), server.registerClient()];
      server.registerRelayChannel(ada.id, grace.id);
      const socket = new WebSocket('ws://127.0.0.1:' + server.address().port);
      socket.on('open', () => {
        socket.send(JSON.stringify({ authentication: { clientId: ada.id, token: ada.token } }));
        socket.send(JSON.stringify({ authentication: { clientId: grace.id, token: ada.token }, token: ada.token }));
      });
      socket.on('close', () => server.close(() => console.log(ada.token, grace.token)));
      socket.on('pong', () => server.unregisterClient(ada.id));
      socket.on('open', () => socket.ping());
    });`);
  delete process.env.NODE_DEBUG;
  const { stdout, stderr, code } = await running;
  assert.equal(code, 0, stderr);
  for (const told of [/client 0 registered/, /clients 0 and 1 have a channel/, /client 0 connected/, /ERR_ALREADY_AUTHENTICATED of client 0/, /client 0 unregistered/, /client 0 disconnected: 4502 unregistered/]) {
    assert.match(stderr, told);
  }
  for (const token of stdout.trim().split(' ')) assert.ok(!stderr.includes(token));
});
