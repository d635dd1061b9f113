// The option `store`: what is kept, and what happens if it cannot be.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import test from 'node:test';
import { pathToFileURL } from 'node:url';
import RelayServer from 'websocket-relay';
import { happened } from './client.mjs';
import { Connection, listen, run } from './support.mjs';

/** Makes a directory that is removed when the test ends. */
function directory(test) {
  const path = mkdtempSync(join(tmpdir(), 'websocket-relay-store-'));
  test.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** A server without a port, and without a test to close it. */
async function withStore(store, use) {
  const server = new RelayServer({ noServer: true, store });
  try {
    return await use(server);
  } finally {
    await server.close();
  }
}

test('a store that cannot be opened is an error as of a port in use', async (t) => {
  const path = join(directory(t), 'missing', 'relay.db');
  const web = http.createServer();
  for (const place of [{ port: 0, host: '127.0.0.1' }, { server: web }, { noServer: true }]) {
    const server = new RelayServer({ ...place, store: path }, () => assert.fail('it does not listen'));
    const failed = { name: 'Error', code: 'ERR_STORE_NOT_FOUND', message: /^the store .*relay\.db cannot be opened: its directory does not exist/ };
    const calls = [
      () => server.registerClient(), () => server.registerClients(2), () => server.refreshToken(0), () => server.unregisterClient(0),
      () => server.disconnectClient(0), () => server.isConnected(0), () => server.registerRelayChannel(0, 1),
      () => server.registerRelayChannels([0]), () => server.unregisterRelayChannel(0, 1),
    ];
    for (const call of calls) assert.throws(call, failed);
    assert.deepEqual([...server.clients()], []);
    assert.equal(server.stats().store, null);
    assert.equal(server.address(), null);
    const [error] = await once(server, 'error');
    assert.throws(() => { throw error; }, failed);
    await once(server, 'close');
    await assert.rejects(server.close(), failed);
    assert.throws(() => server.registerClient(), failed);
    assert.equal(web.listenerCount('upgrade'), 0);
  }
  assert.equal(existsSync(join(path, '..')), false);
});

test("throws the error of a store without an 'error' listener", async (t) => {
  const path = join(directory(t), 'missing', 'relay.db');
  const { code, stderr } = await run(`
    import RelayServer from 'websocket-relay';
    new RelayServer({ port: 0, store: process.argv[1] });`, path);
  assert.notEqual(code, 0);
  assert.match(stderr, /Error: the store .* cannot be opened/);
  assert.match(stderr, /ERR_STORE_NOT_FOUND/);
});

test('may be closed before the error of its store', async (t) => {
  const server = new RelayServer({ noServer: true, store: join(directory(t), 'missing', 'relay.db') });
  server.on('error', () => assert.fail('it was closed before'));
  await server.close();
});

test('leaves a file that is something else as it is', async (t) => {
  const path = join(directory(t), 'notes.txt');
  writeFileSync(path, 'These are notes. '.repeat(1000));
  const server = new RelayServer({ noServer: true, store: path });
  const [error] = await once(server, 'error');
  assert.equal(error.code, 'ERR_STORE_FORMAT');
  await once(server, 'close');
});

test('opens a store by a path, a URL or an object, and by one server at a time', async (t) => {
  const path = join(directory(t), 'relay.db');
  const { id } = await withStore(path, (server) => server.registerClient());
  for (const store of [path, relative(process.cwd(), path), pathToFileURL(path), { path }, { path: pathToFileURL(path), durability: 'synced' }]) {
    await withStore(store, async (server) => {
      assert.deepEqual([...server.clients()].map((client) => client.id), [id]);
      const second = new RelayServer({ noServer: true, store });
      assert.equal((await once(second, 'error'))[0].code, 'ERR_STORE_LOCKED');
      await once(second, 'close');
    });
  }
});

test('keeps clients with their tokens, lifetimes and data, and gives no id twice', async (t) => {
  const store = join(directory(t), 'relay.db');
  const token = randomBytes(16).toString('hex');
  const data = { user: 'ada', tags: ['a', 'ü'], since: new Date(0) };
  const before = await withStore(store, (server) => {
    const own = server.registerClient({ id: 4711, token, data });
    const expiring = server.registerClient({ expiresIn: 3_600_000, data: 'short' });
    const [many] = server.registerClients(10);
    server.refreshToken(expiring.id, { expiresIn: 3_600_000 });
    server.unregisterClient(server.registerClient().id);
    server.registerRelayChannel(own.id, many.id);
    return [own, expiring, many];
  });
  const server = await listen(t, { store });
  const found = [...server.clients()].map(({ id, data }) => [id, data]).slice(0, 3);
  assert.deepEqual(found, [[4711, { ...data, since: '1970-01-01T00:00:00.000Z' }], [4712, 'short'], [4713, undefined]]);
  assert.equal(server.stats().channels, 1);
  assert.equal(server.registerClient().id, 4724, '4723 was unregistered');
  assert.throws(() => server.registerClient({ id: 4712 }), { code: 'ERR_CLIENT_EXISTS' });
  const [own, expiring, many] = before;
  const connected = happened(server, 'connection');
  const one = await Connection.open(server, own);
  assert.deepEqual(await connected, [4711, found[0][1]]);
  const two = await Connection.open(server, many);
  one.relay(many.id, 'hello');
  assert.equal((await two.relayed()).message, 'hello');
  const expired = once(server, 'expired');
  server.refreshToken(expiring.id, { expiresIn: 1 });
  assert.deepEqual(await expired, [4712, 0, 'short']);
});

test('a store keeps only data that JSON can hold', async (t) => {
  const data = {};
  data.self = data;
  await withStore(join(directory(t), 'relay.db'), (server) => {
    for (const odd of [data, 1n, () => {}, Symbol('s'), { toJSON() {} }]) {
      assert.throws(() => server.registerClient({ data: odd }), {
        name: 'TypeError',
        code: 'ERR_INVALID_ARG_TYPE',
        message: /^options\.data must be a value that JSON\.stringify\(\) can write, because the server has a store; received /,
      });
    }
    assert.equal(server.stats().registered, 0);
    for (const fine of [null, 0, '', false, [undefined], { a: undefined }]) server.registerClient({ data: fine });
    assert.deepEqual([...server.clients()].map(({ data }) => data), [null, 0, '', false, [undefined], { a: undefined }]);
  });
});

test('says that the store is closed when something is registered after close()', async (t) => {
  const server = new RelayServer({ noServer: true, store: join(directory(t), 'relay.db') });
  const { id } = server.registerClient();
  await server.close();
  for (const call of [() => server.registerClient(), () => server.registerClients(2), () => server.refreshToken(id)]) {
    assert.throws(call, { name: 'Error', code: 'ERR_STORE_CLOSED' });
  }
  assert.deepEqual([...server.clients()].map((client) => client.id), [id]);
});

test('stats() and /metrics count what the store does', async (t) => {
  const server = await listen(t, { store: join(directory(t), 'relay.db'), metrics: true });
  const { store } = server.stats();
  assert.deepEqual(Object.keys(store).sort(), ['committed', 'lastCommitMs', 'pendingBytes', 'skipped']);
  const text = await (await fetch(`http://127.0.0.1:${server.address().port}/metrics`)).text();
  for (const name of ['committed_messages_total', 'skipped_messages_total', 'pending_bytes', 'last_commit_seconds']) {
    assert.match(text, new RegExp(`^websocket_relay_store_${name} [0-9.e-]+$`, 'm'));
  }
});

test('without a store there are no figures of one', async (t) => {
  const server = await listen(t, { metrics: true });
  assert.equal(server.stats().store, null);
  const text = await (await fetch(`http://127.0.0.1:${server.address().port}/metrics`)).text();
  assert.doesNotMatch(text, /store/);
});

test('warns of an unknown member of the option', async (t) => {
  const warned = once(process, 'warning');
  const path = join(directory(t), 'relay.db');
  await withStore({ path, durabilty: 'synced' }, () => {});
  const [warning] = await warned;
  assert.equal(warning.code, 'WEBSOCKET_RELAY_UNKNOWN_OPTION');
  assert.match(warning.message, /^the option store has no member 'durabilty'/);
});

/** Fills a store whose file may not grow beyond 1 MB, which is an error of writing to SQLite, and prints what happens. */
const FILLING = `
  import RelayServer from 'websocket-relay';
  import WebSocket from 'ws';
  const [path, listens] = process.argv.slice(1);
  const tell = (...what) => console.log(JSON.stringify(what));
  const server = new RelayServer({ port: 0, host: '127.0.0.1', store: path }, async () => {
    const { id, token } = server.registerClient();
    const socket = new WebSocket('ws://127.0.0.1:' + server.address().port);
    socket.on('open', () => socket.send(JSON.stringify({ authentication: { clientId: id, token } })));
    socket.on('close', (code) => tell('client', code));
    await new Promise((resolve) => server.once('connection', resolve));
    let count = 1;
    try {
      for (;;) count += server.registerClients(1000).length;
    } catch ({ code, message }) {
      tell('thrown', code, message, count);
    }
    tell('registered', server.stats().registered);
    server.on('close', () => server.close(({ code }) => tell('closed', code)));
  });
  if (listens) server.on('error', ({ name, code }) => tell('error', name, code));
  process.on('warning', ({ code }) => tell('warning', code));
`;

for (const listens of ['', 'listens']) {
  const name = `a store that fails closes the server, and not the process, ${listens ? 'with' : 'without'} an 'error' listener`;
  test(name, { skip: process.platform === 'win32' && 'files cannot be limited' }, async (t) => {
    const store = join(directory(t), 'relay.db');
    const program = [process.execPath, '--no-warnings', '--input-type=module', '--eval', FILLING, store, listens];
    const limited = spawn('sh', ['-c', 'ulimit -f 2000; exec "$0" "$@"', ...program], { stdio: ['ignore', 'pipe', 'inherit'], cwd: new URL('../..', import.meta.url) });
    const [text, [code]] = await Promise.all([limited.stdout.setEncoding('utf8').toArray(), once(limited, 'close')]);
    const told = text.join('').trim().split('\n').map((line) => JSON.parse(line));
    const of = (what) => told.filter(([first]) => first === what).map(([, ...rest]) => rest);
    assert.equal(code, 0, text);
    const [[thrown, message, count]] = of('thrown');
    assert.equal(thrown, 'ERR_STORE_IO');
    assert.match(message, /^the store .*relay\.db failed: /);
    assert.deepEqual(of('error'), listens ? [['RelayError', 'ERR_STORE_IO']] : []);
    assert.deepEqual(of('warning'), listens ? [] : [['ERR_STORE_IO']]);
    assert.deepEqual([of('client'), of('closed')], [[[1012]], [['ERR_STORE_IO']]]);
    assert.deepEqual(of('registered'), [[count]], 'what was not stored is not registered');
    await withStore(store, (server) => assert.equal(server.stats().registered, count));
  });
}
