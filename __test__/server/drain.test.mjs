// Draining: queued messages are delivered first, clients are told when to reconnect, and the timeout holds.
import assert from 'node:assert/strict';
import { getEventListeners, once } from 'node:events';
import net from 'node:net';
import test from 'node:test';
import RelayServer from 'websocket-relay';
import WebSocketRelay from 'websocket-relay/client';
import { makeCertificate } from '../tls/certificates.mjs';
import { Connection, listen, pair, run } from './support.mjs';

/** Longer than any test, so that nothing is cut. */
const LONG = 2 ** 31 - 1;

/** Returns the delay after which a client was told to reconnect, in milliseconds. */
async function told({ closed }) {
  const { code, reason } = await closed;
  assert.equal(code, 1012);
  return Number(/^(\d+) ms to wait: the server is restarting$/.exec(reason)[1]);
}

/** Waits until the server has read everything sent on a connection. */
async function read({ socket }) {
  const pong = once(socket, 'pong');
  socket.ping();
  await pong;
}

const credentials = makeCertificate();

for (const [over, given, tls] of [['TCP'], ['TLS', credentials, { ca: credentials.cert }]]) {
  test(`delivers what waits for a slow reader before closing with 1012, over ${over}`, async (t) => {
    const server = await listen(t, { maxQueuedBytes: 1 << 28, maxMailboxBytes: 1 << 28, ...(given && { cert: given.cert, key: given.key }) });
    const [ada, grace] = pair(server);
    const from = await Connection.open(server, ada, tls);
    const to = await Connection.open(server, grace, tls);
    from.relay(grace.id, 'first');
    await to.relayed();
    to.socket.pause();
    // More than the socket buffers hold.
    const total = 300;
    for (let n = 0; n < total; n += 1) from.relay(grace.id, `${n} ${'x'.repeat(50_000)}`);
    await read(from);
    const heard = [];
    server.on('disconnect', (id, code) => heard.push([id, code]));
    const closed = server.close({ timeout: LONG });
    // No messages wait for it.
    await told(from);
    to.socket.resume();
    for (let n = 0; n < total; n += 1) assert.match((await to.relayed()).message, new RegExp(`^${n} x{50000}$`));
    await told(to);
    await closed;
    assert.deepEqual(heard, [[ada.id, 1012], [grace.id, 1012]]);
  });
}

test('delivers everything to a reliable client, and accepts nothing more', async (t) => {
  const server = await listen(t, { maxInFlightMessages: 2 });
  const [ada, grace] = pair(server);
  const from = await Connection.open(server, ada);
  const to = await Connection.open(server);
  to.send({ authentication: { clientId: grace.id, token: grace.token, version: 2, session: '0123456789abcdef', connection: 1 } });
  await to.text();
  for (let n = 0; n < 10; n += 1) from.relay(grace.id, String(n));
  await read(from);
  const closed = server.close({ timeout: LONG });
  await told(from);
  to.send({ relay: { targetId: ada.id, message: 'too late', seq: 1 } });
  for (let n = 0; n < 10; n += 1) {
    const { message, offset } = await to.relayed();
    assert.equal(message, String(n));
    to.send({ received: { senderId: ada.id, offset } });
  }
  await told(to);
  await closed;
  // Nothing about messages that came too late.
  assert.equal(to.pending, 0);
});

test('cuts a client that does not read at the timeout', async (t) => {
  const server = await listen(t, { maxQueuedBytes: 1 << 28, maxMailboxBytes: 1 << 28 });
  const [ada, grace] = pair(server);
  const [from, to] = [await Connection.open(server, ada), await Connection.open(server, grace)];
  from.relay(grace.id, 'first');
  await to.relayed();
  to.socket.pause();
  for (let n = 0; n < 300; n += 1) from.relay(grace.id, 'x'.repeat(50_000));
  await read(from);
  await server.close({ timeout: 50 });
  await told(from);
  to.socket.resume();
  assert.equal((await to.closed).code, 1006);
});

test('close() and a shorter timeout cut draining short', async (t) => {
  for (const cut of [(server) => server.close(), (server) => server.close({ timeout: 0 })]) {
    const server = await listen(t, { maxInFlightMessages: 1 });
    const [ada, grace] = pair(server);
    const from = await Connection.open(server, ada);
    const to = await Connection.open(server);
    to.send({ authentication: { clientId: grace.id, token: grace.token, version: 2, session: '0123456789abcdef', connection: 1 } });
    for (let n = 0; n < 2; n += 1) from.relay(grace.id, String(n));
    await read(from);
    const called = [];
    const closed = new Promise((resolve) => server.close({ timeout: LONG }, () => resolve(called.push('first'))));
    await told(from);
    // The second message waits for the acknowledgement of the first.
    await cut(server);
    await closed;
    assert.deepEqual(called, ['first']);
    await to.closed;
  }
});

test('spreads the reconnects of clients evenly', async (t) => {
  const server = await listen(t);
  const all = await Promise.all(Array.from({ length: 50 }, () => Connection.open(server)));
  await server.close({ timeout: LONG, retryAfter: 50_000 });
  const times = (await Promise.all(all.map(told))).sort((a, b) => a - b);
  times.forEach((time, n) => assert.ok(Math.abs(time - n * 1000) < 3000, `${times}`));
  const next = await listen(t);
  const hurried = await Connection.open(next);
  await next.close({ timeout: LONG, retryAfter: 0 });
  assert.equal(await told(hurried), 0);
});

test('rejects new connections while draining; pages continue on the next server', async (t) => {
  const first = await listen(t, { maxInFlightMessages: 1 });
  const { port } = first.address();
  const [ada, grace] = pair(first);
  const slow = await Connection.open(first);
  slow.send({ authentication: { clientId: grace.id, token: grace.token, version: 2, session: '0123456789abcdef', connection: 1 } });
  const tokens = [ada.token];
  const page = new WebSocketRelay(`127.0.0.1:${port}`, { clientId: ada.id, token: () => tokens[0], reconnectionDelay: 1 });
  t.after(() => page.close());
  page.on('error', () => {});
  const channel = page.createChannel(grace.id);
  await Promise.all([1, 2].map((n) => new Promise((resolve) => channel.send(String(n), resolve))));
  const closed = first.close({ timeout: LONG, retryAfter: 10 });
  const ended = () => new Promise((resolve) => page.once('close', resolve));
  assert.equal((await ended()).code, 1012);
  const { code, willReconnect } = await ended();
  assert.deepEqual({ code, willReconnect }, { code: 1006, willReconnect: true });
  assert.equal((await fetch(`http://127.0.0.1:${port}/health`)).status, 503);
  slow.socket.terminate();
  await closed;
  const second = new RelayServer({ port, host: '127.0.0.1' });
  t.after(() => second.close());
  [{ token: tokens[0] }] = pair(second);
  await new Promise((resolve) => page.once('open', resolve));
});

test('checks the arguments of close()', async (t) => {
  const server = await listen(t);
  for (const [options, code] of [
    [1, 'ERR_INVALID_ARG_TYPE'],
    [null, 'ERR_INVALID_ARG_TYPE'],
    [{ timeout: '1' }, 'ERR_INVALID_ARG_TYPE'],
    [{ timeout: -1 }, 'ERR_OUT_OF_RANGE'],
    [{ timeout: 2 ** 31 }, 'ERR_OUT_OF_RANGE'],
    [{ timeout: 1, retryAfter: 0.5 }, 'ERR_OUT_OF_RANGE'],
  ]) {
    assert.throws(() => server.close(options), { code });
  }
  assert.throws(() => server.close({}, 1), { code: 'ERR_INVALID_ARG_TYPE' });
  const connection = await Connection.open(server);
  await server.close({});
  assert.equal((await connection.closed).code, 1001);
  await server.close({ timeout: 5 });
});

test('closes on an aborted signal, before and after listening', async () => {
  const controller = new AbortController();
  const { signal } = controller;
  const server = new RelayServer({ port: 0, host: '127.0.0.1', signal });
  await once(server, 'listening');
  const connection = await Connection.open(server);
  controller.abort();
  await once(server, 'close');
  assert.equal((await connection.closed).code, 1001);
  const late = new RelayServer({ port: 0, signal }, () => assert.fail('it was aborted before'));
  await once(late, 'close');
  const other = new AbortController();
  const short = new RelayServer({ port: 0, signal: other.signal });
  assert.equal(getEventListeners(other.signal, 'abort').length, 1);
  await short.close();
  assert.equal(getEventListeners(other.signal, 'abort').length, 0);
  assert.throws(() => new RelayServer({ port: 0, signal: {} }), { code: 'ERR_INVALID_ARG_TYPE' });
});

test('closes with Symbol.asyncDispose', { skip: !Symbol.asyncDispose && 'this Node has none' }, async (t) => {
  const server = await listen(t);
  const { port } = server.address();
  await server[Symbol.asyncDispose]();
  const [error] = await once(net.connect(port, '127.0.0.1'), 'error');
  assert.equal(error.code, 'ECONNREFUSED');
  await server[Symbol.asyncDispose]();
});

test('keeps the process alive while draining', async () => {
  const { stdout } = await run(`
    import RelayServer from 'websocket-relay';
    const server = new RelayServer({ port: 0 }, async () => {
      await server.close({ timeout: 10_000 });
      console.log('drained');
    });`);
  assert.equal(stdout, 'drained\n');
});
