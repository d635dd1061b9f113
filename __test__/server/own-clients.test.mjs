// Clients whose ids and tokens the application chooses, and many clients at once.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import test from 'node:test';
import RelayServer from 'websocket-relay';
import { happened, openClient } from './client.mjs';
import { Connection, listen } from './support.mjs';

const newToken = () => randomBytes(16).toString('hex');

test('registers the ids and tokens of the application again after a restart, in any order', async (t) => {
  const users = [4711, 3, Number.MAX_SAFE_INTEGER - 1].map((id) => ({ id, token: newToken() }));
  const [ada, grace, alan] = users;
  const register = (server, order) => {
    for (const { id, token } of order) assert.deepEqual(server.registerClient({ id, token }), { id, token });
    server.registerRelayChannels(users.map(({ id }) => id));
  };
  const first = await listen(t);
  const { port } = first.address();
  register(first, users);
  const [one, two] = [ada, grace].map((user) => openClient(t, first, user, { reconnectionDelay: 1 }));
  const [to, from] = [one.createChannel(grace.id), two.createChannel(ada.id)];
  to.send('before');
  assert.deepEqual(await happened(from, 'message'), ['before']);
  const left = happened(one, 'close');
  await first.close();
  await left;
  to.send('meanwhile');
  const second = new RelayServer({ port, host: '127.0.0.1' });
  t.after(() => second.close());
  // The port opens in the next tick, so no client comes before it is registered.
  register(second, [...users].reverse());
  await once(second, 'listening');
  assert.deepEqual(await happened(from, 'message'), ['meanwhile']);
  const three = await Connection.open(second, alan);
  three.relay(ada.id, 'from the highest id');
  assert.deepEqual(await happened(one.createChannel(alan.id), 'message'), ['from the highest id']);
});

test('opens its port after the tick of its construction, so that clients can be registered before', async (t) => {
  const first = await listen(t);
  const { port } = first.address();
  await first.close();
  const server = new RelayServer({ port, host: '127.0.0.1' });
  t.after(() => server.close());
  const program = `require('net').connect(${port}, '127.0.0.1').on('error', ({ code }) => console.log(code)).on('connect', () => process.exit(1))`;
  assert.equal(spawnSync(process.execPath, ['--eval', program], { encoding: 'utf8' }).stdout.trim(), 'ECONNREFUSED');
  await once(server, 'listening');
});

test('rejects an id that is taken, and gives others above the highest', async (t) => {
  const server = await listen(t);
  assert.equal(server.registerClient({ id: 7 }).id, 7);
  assert.equal(server.registerClient().id, 8);
  assert.equal(server.registerClient({ id: 0, token: newToken() }).id, 0);
  assert.equal(server.registerClient({ token: newToken() }).id, 9);
  for (const id of [0, -0, 7, 8]) {
    assert.throws(() => server.registerClient({ id, data: 'new' }), {
      constructor: Error,
      name: 'ClientExistsException',
      code: 'ERR_CLIENT_EXISTS',
      message: `client ${id} is registered already`,
    });
  }
  assert.deepEqual([...server.clients()].map(({ id, data }) => [id, data]), [0, 7, 8, 9].map((id) => [id, undefined]));
  server.registerClient({ id: Number.MAX_SAFE_INTEGER });
  const exhausted = { name: 'Error', code: 'ERR_CLIENT_IDS_EXHAUSTED', message: /^the id 9007199254740991 was used.*name a free id$/ };
  assert.throws(() => server.registerClient(), exhausted);
  assert.throws(() => server.registerClients(2), exhausted);
  assert.equal(server.registerClient({ id: 5 }).id, 5);
  assert.equal(server.stats().registered, 6);
});

test('registers the id of an unregistered client again if the application names it', async (t) => {
  const server = await listen(t);
  const old = server.registerClient({ id: 7, data: 'old' });
  server.registerRelayChannel(7, server.registerClient().id);
  const connection = await Connection.open(server, old);
  await happened(server, 'connection');
  server.unregisterClient(7);
  assert.equal((await connection.closed).code, 4502);
  assert.equal(server.registerClient().id, 9);
  const again = server.registerClient({ id: 7, data: 'new' });
  assert.notEqual(again.token, old.token);
  assert.equal((await (await Connection.open(server, old)).closed).code, 4500);
  const connected = happened(server, 'connection');
  await Connection.open(server, again);
  assert.deepEqual(await connected, [7, 'new']);
  assert.equal(server.stats().channels, 0, 'its channels are not those of the client before it');
});

for (const data of ['first', undefined]) {
  test(`keeps the data of clients apart that have had the same id: ${data}`, async (t) => {
    const server = await listen(t);
    const expired = [];
    server.on('expired', (id, undelivered, ...rest) => expired.push([id, ...rest]));
    server.registerClient({ id: 7, data, expiresIn: 1 });
    // The engine expires it while this thread is busy, before its event can be heard.
    while (server.stats().registered > 0);
    for (let isTaken = true; isTaken;) {
      try {
        server.registerClient({ id: 7, data: 'second' });
        isTaken = false;
      } catch ({ code }) {
        assert.equal(code, 'ERR_CLIENT_EXISTS', 'until its peers know');
      }
    }
    await once(server, 'expired');
    const first = data === undefined ? [7] : [7, data];
    assert.deepEqual(expired, [first]);
    assert.equal([...server.clients()][0].data, 'second');
    server.refreshToken(7, { expiresIn: 1 });
    await once(server, 'expired');
    assert.deepEqual(expired, [first, [7, 'second']]);
  });
}

test('registers many clients at once', async (t) => {
  const server = await listen(t);
  const own = server.registerClient({ id: 41 });
  const clients = server.registerClients(5_000);
  assert.equal(clients.length, 5_000);
  assert.equal(new Set(clients.map(({ token }) => token)).size, 5_000);
  for (const [index, { id, token }] of clients.entries()) {
    assert.equal(id, 42 + index);
    assert.match(token, /^[0-9a-f]{32}$/);
  }
  const [first] = server.registerClients(1, { expiresIn: 3_600_000 });
  assert.deepEqual(Object.keys(first), ['id', 'token']);
  assert.equal(server.registerClient().id, first.id + 1);
  server.registerRelayChannels([own.id, clients[0].id, clients.at(-1).id]);
  const [one, two] = [await Connection.open(server, clients[0]), await Connection.open(server, clients.at(-1))];
  one.relay(clients.at(-1).id, 'hello');
  assert.equal((await two.relayed()).message, 'hello');
  const expired = once(server, 'expired');
  const [short] = server.registerClients(1, { expiresIn: 1 });
  assert.deepEqual(await expired, [short.id, 0]);
});

test('replaces a token with one of the application', async (t) => {
  const server = await listen(t);
  const [old, token] = [server.registerClient({ expiresIn: 3_600_000 }), newToken()];
  assert.equal(server.refreshToken(old.id, { token }), token);
  assert.equal((await (await Connection.open(server, old)).closed).code, 4500);
  const connected = happened(server, 'connection');
  await Connection.open(server, { id: old.id, token });
  assert.deepEqual(await connected, [old.id]);
});

test('checks ids, tokens and numbers of clients, and shows no token', async (t) => {
  const server = await listen(t);
  const [TYPE, RANGE, VALUE] = ['ERR_INVALID_ARG_TYPE', 'ERR_OUT_OF_RANGE', 'ERR_INVALID_ARG_VALUE'];
  for (const [id, code] of [['7', TYPE], [null, TYPE], [7n, TYPE], [-1, RANGE], [0.5, RANGE], [NaN, RANGE], [2 ** 53, RANGE]]) {
    assert.throws(() => server.registerClient({ id }), { code, message: /^options\.id must be an integer from 0 to 9007199254740991; received / });
  }
  for (const [token, code] of [
    [7, TYPE], [null, TYPE], [Buffer.alloc(16), TYPE], [['0'.repeat(32)], TYPE], ['', VALUE], ['0'.repeat(31), VALUE],
    ['0'.repeat(33), VALUE], ['A'.repeat(32), VALUE], ['é'.repeat(16), VALUE], [`${'0'.repeat(31)}\n`, VALUE], ['g'.repeat(32), VALUE],
  ]) {
    const expected = {
      name: 'TypeError',
      code,
      message: /^options\.token must be a string of 32 lower-case hex digits; received (number|null|object|another string)$/,
    };
    assert.throws(() => server.registerClient({ token }), expected);
    assert.throws(() => server.refreshToken(0, { token }), expected);
  }
  for (const [args, code, text] of [
    [[], TYPE, /^count must be an integer from 1 to 100000 \(clients\); received undefined/],
    [['5'], TYPE, /received '5'/],
    [[[{ id: 1 }]], TYPE, /^count /],
    [[0], RANGE, /received 0/],
    [[1.5], RANGE, /received 1\.5/],
    [[100_001], RANGE, /received 100001/],
    [[1, null], TYPE, /^options must be an object; received null/],
    [[1, { expiresIn: 0 }], RANGE, /^options\.expiresIn /],
    [[1, { id: 7 }], VALUE, /^options\.id is for one client: call registerClient\(\) for each/],
    [[2, { token: newToken() }], VALUE, /^options\.token is for one client/],
    [[2, { data: 'x' }], VALUE, /^options\.data is for one client/],
  ]) {
    assert.throws(() => server.registerClients(...args), { code, message: text });
  }
  assert.equal(server.stats().registered, 0);
});

test('keeps any data without a store', async (t) => {
  const server = await listen(t);
  const data = { self: null, size: 1n, call() {} };
  data.self = data;
  server.registerClient({ data });
  assert.equal([...server.clients()][0].data, data);
});
