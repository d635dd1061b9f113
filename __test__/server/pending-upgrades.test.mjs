// Upgrade requests between being read by an http server and being answered: who owns the connection, and who sees it.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import test from 'node:test';
import RelayServer from 'websocket-relay';
import WebSocket, { WebSocketServer } from 'ws';
import { authenticationFrame, upgradeRequest } from './raw.mjs';
import { Connection, attach, keepsSockets, knock, placeOf, run, statusOf } from './support.mjs';

const isTakenOver = process.platform !== 'win32';

/** A verifyClient that decides when told to. */
function manualVerifier() {
  const questions = [];
  const waiting = [];
  return {
    verifyClient: (info, callback) => {
      const question = { info, callback };
      if (waiting.length > 0) waiting.shift()(question);
      else questions.push(question);
    },
    next: () => (questions.length > 0 ? questions.shift() : new Promise((resolve) => waiting.push(resolve))),
  };
}

for (const answer of [true, false]) {
  test(`takes a connection from Node while it is verified, and answers: ${answer}`, { skip: !isTakenOver && 'none is taken over' }, async (t) => {
    const { verifyClient, next } = manualVerifier();
    const web = http.createServer();
    const relay = await attach(t, web, { verifyClient });
    const seen = new Promise((resolve) => {
      web.on('upgrade', (request, { destroyed, writable }) => resolve({ destroyed, writable }));
    });
    const knocked = knock(relay);
    const { callback } = await next();
    assert.deepEqual(await seen, { destroyed: true, writable: false });
    callback(answer, 418, 'no', { 'x-why': 'because' });
    const { status, socket, text, headers } = await knocked;
    assert.equal(status, answer ? 101 : 418);
    if (!answer) assert.deepEqual([text, headers['x-why'], headers.connection], ['no\n', 'because', 'close']);
    socket?.terminate();
  });
}

test('verifyClient can read the address of a detached connection', async (t) => {
  const seen = [];
  const verifyClient = async ({ req: { socket } }) => {
    seen.push(socket.destroyed, socket.remoteAddress);
    await new Promise(setImmediate);
    seen.push(socket.remoteAddress);
    return true;
  };
  const relay = await attach(t, http.createServer(), { verifyClient });
  assert.equal(await statusOf(relay), 101);
  assert.deepEqual(seen, [true, '127.0.0.1', '127.0.0.1']);
});

for (const [way, make] of Object.entries({ detached: (web) => web, bridged: keepsSockets })) {
  test(`${way}: keeps bytes received during verification`, async (t) => {
    const { verifyClient, next } = manualVerifier();
    const relay = await attach(t, make(http.createServer()), { verifyClient });
    const client = relay.registerClient();
    // A client that does not wait for the response.
    const frame = authenticationFrame(client);
    const socket = net.connect(new URL(placeOf(relay).url).port, '127.0.0.1');
    socket.write(upgradeRequest('/relay'));
    socket.write(frame.subarray(0, 5));
    const { callback } = await next();
    const connected = once(relay, 'connection');
    socket.write(frame.subarray(5), () => callback(true));
    assert.deepEqual(await connected, [client.id]);
    let answer = '';
    socket.on('data', (bytes) => (answer += bytes));
    while (!answer.includes('\r\n\r\n')) await once(socket, 'data');
    assert.match(answer, /^HTTP\/1\.1 101 Switching Protocols\r\n/);
    socket.destroy();
  });

  test(`${way}: close() rejects requests being verified without waiting`, async (t) => {
    const { verifyClient, next } = manualVerifier();
    const relay = await attach(t, make(http.createServer()), { verifyClient });
    const knocked = knock(relay);
    const { callback } = await next();
    await relay.close();
    const { status, text } = await knocked;
    assert.deepEqual([status, text], [503, 'the server is closing\n']);
    callback(true);
    assert.deepEqual(relay.stats().turnedAway, { closing: 1 });
  });

  test(`${way}: releases a client that leaves during verification`, { skip: !existsSync('/proc/self/fd') && 'needs /proc' }, async (t) => {
    const { verifyClient, next } = manualVerifier();
    const relay = await attach(t, make(http.createServer()), { verifyClient });
    const descriptors = () => readdirSync('/proc/self/fd').length;
    const visit = async (answer) => {
      const connection = new Connection(relay);
      const { callback } = await next();
      connection.socket.terminate();
      await connection.closed;
      callback(answer);
    };
    await visit(true);
    const before = descriptors();
    for (let n = 0; n < 50; n += 1) await visit(n % 2 === 0);
    while (descriptors() > before || relay.stats().connections > 0) await new Promise(setImmediate);
  });
}

test('prefers a relay with a path to one without, in any order', async (t) => {
  for (const paths of [[undefined, '/own'], ['/own', undefined]]) {
    const web = http.createServer();
    const relays = paths.map((path) => new RelayServer({ server: web, path }));
    t.after(async () => {
      await Promise.all(relays.map((relay) => relay.close()));
      web.close();
    });
    await once(web.listen(0, '127.0.0.1'), 'listening');
    for (const path of ['/own', '/any']) {
      const { socket } = await knock({ url: `ws://127.0.0.1:${web.address().port}${path}` });
      const counts = () => relays.map((relay) => relay.stats().connections);
      while (!counts().includes(1)) await new Promise(setImmediate);
      assert.equal(paths[counts().indexOf(1)], path === '/own' ? '/own' : undefined);
      assert.equal(counts()[0] + counts()[1], 1);
      socket.terminate();
      while (relays.some((relay) => relay.stats().connections > 0)) await new Promise(setImmediate);
    }
  }
});

test('handleUpgrade() leaves an answered socket alone and reports it', async (t) => {
  const relay = new RelayServer({ noServer: true });
  t.after(() => relay.close());
  const web = http.createServer();
  const other = new WebSocketServer({ server: web });
  web.on('upgrade', (request, socket, head) => relay.handleUpgrade(request, socket, head));
  await once(web.listen(0, '127.0.0.1'), 'listening');
  t.after(() => web.close());
  const told = once(relay, 'error');
  const socket = new WebSocket(`ws://127.0.0.1:${web.address().port}`);
  await once(socket, 'open');
  const [{ code, message }] = await told;
  assert.deepEqual([code, /likely: ws$/.test(message)], ['ERR_UPGRADE_TAKEN', true]);
  assert.deepEqual(relay.stats().turnedAway, { taken: 1 });
  socket.close();
  await once(socket, 'close');
  other.close();
});

test("warns once without an 'error' listener", async () => {
  const { stderr, code } = await run(`
    import { once } from 'node:events';
    import http from 'node:http';
    import net from 'node:net';
    import RelayServer from 'websocket-relay';
    const relay = new RelayServer({ noServer: true });
    const web = http.createServer().on('upgrade', (request, socket, head) => {
      socket.end('HTTP/1.1 404 Not Found\\r\\ncontent-length: 0\\r\\n\\r\\n');
      relay.handleUpgrade(request, socket, head);
    });
    web.listen(0, '127.0.0.1', async () => {
      for (let n = 0; n < 3; n += 1) {
        const socket = net.connect(web.address().port, '127.0.0.1').resume();
        socket.write('GET / HTTP/1.1\\r\\nhost: localhost\\r\\nconnection: upgrade\\r\\nupgrade: websocket\\r\\n\\r\\n');
        await once(socket, 'close');
      }
      relay.close();
      web.close();
    });
  `);
  assert.equal(code, 0, stderr);
  assert.equal(stderr.match(/\[ERR_UPGRADE_TAKEN\]/g)?.length, 1, stderr);
});
