// A relay attached to an http server: it serves its own requests and leaves the others alone, or rejects them.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { open as openFolder } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import express from 'express';
import RelayServer from 'websocket-relay';
import WebSocket, { WebSocketServer } from 'ws';
import { jsonFrame, upgradeRequest } from './raw.mjs';
import { Connection, WAYS, attach, keepsSockets, pair, placeOf } from './support.mjs';
import { terminateInTraffic } from './workers.mjs';

/** A server that is closed when the test ends. */
async function open(t, web = http.createServer()) {
  t.after(() => {
    web.closeAllConnections();
    web.close();
  });
  await once(web.listen(0, '127.0.0.1'), 'listening');
  return web;
}

/** Sends a request and resolves to everything received until the connection ends. */
async function ask(web, head, port = web.address().port) {
  const socket = net.connect(port, '127.0.0.1');
  socket.write(head);
  let answer = '';
  socket.setEncoding('latin1').on('data', (text) => (answer += text));
  await once(socket, 'close');
  return answer;
}

const countConnections = (web) => new Promise((resolve) => web.getConnections((_error, count) => resolve(count)));

async function talk(server) {
  const [ada, grace] = pair(server);
  const [one, two] = [await Connection.open(server, ada), await Connection.open(server, grace)];
  one.relay(grace.id, 'hello');
  assert.deepEqual(await two.relayed(), { senderId: ada.id, message: 'hello' });
  two.relay(ada.id, 'hello back');
  assert.deepEqual(await one.relayed(), { senderId: grace.id, message: 'hello back' });
  return [one, two];
}

test('leaves upgrades for other paths to other listeners, in any order', async (t) => {
  for (const isFirst of [true, false]) {
    const web = http.createServer((request, response) => response.end('the application'));
    const echo = new WebSocketServer({ noServer: true });
    echo.on('connection', (socket) => socket.on('message', (data) => socket.send(data)));
    const takeEcho = (request, socket, head) => {
      if (request.url === '/echo') echo.handleUpgrade(request, socket, head, (opened) => echo.emit('connection', opened));
    };
    if (isFirst) web.on('upgrade', takeEcho);
    const relay = await attach(t, web);
    const other = new RelayServer({ server: web, path: '/other' });
    t.after(() => other.close());
    if (!isFirst) web.on('upgrade', takeEcho);
    const { port } = relay.address();
    const socket = new WebSocket(`ws://127.0.0.1:${port}/echo`);
    await once(socket, 'open');
    socket.send('its own');
    assert.equal(String((await once(socket, 'message'))[0]), 'its own');
    const [one] = await talk(relay);
    const second = await Connection.open({ url: `ws://127.0.0.1:${port}/other` }, other.registerClient());
    assert.equal(await (await fetch(`http://127.0.0.1:${port}/`)).text(), 'the application');
    second.socket.close();
    one.socket.close();
    socket.close();
    await Promise.all([second.closed, one.closed, once(socket, 'close')]);
  }
});

test('answers an unhandled upgrade with 404, at once or after headersTimeout', async (t) => {
  const web = http.createServer();
  const relay = await attach(t, web, { headersTimeout: 100 });
  const second = new RelayServer({ server: web, path: '/second' });
  t.after(() => second.close());
  assert.match(await ask(web, upgradeRequest('/nobody')), /^HTTP\/1\.1 404 Not Found\r\nConnection: close\r\n.*\r\n\r\nnothing is here\n$/s);
  // Another listener, which does not answer either.
  web.on('upgrade', () => {});
  assert.match(await ask(web, upgradeRequest('/nobody')), /^HTTP\/1\.1 404 /);
  // A listener that answers even later is not interrupted.
  web.on('upgrade', async (request, socket) => {
    if (request.url !== '/slow') return;
    socket.on('error', () => {});
    assert.match(await ask(web, upgradeRequest('/nobody')), /^HTTP\/1\.1 404 /);
    socket.end('HTTP/1.1 401 Unauthorized\r\n\r\n');
  });
  assert.match(await ask(web, upgradeRequest('/slow')), /^HTTP\/1\.1 401 /);
  // A client that resets meanwhile crashes nothing.
  const socket = net.connect(web.address().port, '127.0.0.1', () => socket.end(upgradeRequest('/nobody')));
  socket.once('finish', () => socket.resetAndDestroy());
  await once(socket, 'close');
  await talk(relay);
});

test('rejects requests that open no WebSocket as on its own port', async (t) => {
  const ways = [WAYS['an http server'], WAYS['handleUpgrade()'], WAYS['its own port']];
  const relays = await Promise.all(ways.map(({ listen }) => listen(t, { path: '/relay' })));
  for (const [head, status] of [
    [upgradeRequest('/relay').replace('13', '8'), '426 Upgrade Required'],
    [upgradeRequest('/relay').replace('dGhl', 'd'), '400 Bad Request'],
    [upgradeRequest('/relay').replace('websocket', 'h2c'), '400 Bad Request'],
    [upgradeRequest('/relay').replace('GET', 'POST'), '400 Bad Request'],
  ]) {
    const answers = await Promise.all(relays.map((relay) => ask(null, head, new URL(placeOf(relay).url).port)));
    assert.match(answers[0], new RegExp(`^HTTP/1\\.1 ${status}\r\n`), head);
    assert.deepEqual(answers, answers.map(() => answers[0]), head);
  }
});

test('serves every path without the option path', async (t) => {
  const web = await open(t);
  const relay = new RelayServer({ server: web });
  t.after(() => relay.close());
  for (const path of ['/', '/a', '/a/b?c=d']) {
    assert.ok(relay.shouldHandle({ url: path }));
    const connection = await Connection.open({ url: `ws://127.0.0.1:${web.address().port}${path}` }, relay.registerClient());
    connection.socket.close();
    await connection.closed;
  }
});

test('shouldHandle() compares the path, and may be overridden', async (t) => {
  const web = http.createServer();
  const relay = await attach(t, web);
  const answers = Object.entries({ '/relay': true, '/relay?x': true, '/relay/': false, '/': false, '/x?/relay': false });
  for (const [url, answer] of answers) assert.equal(relay.shouldHandle({ url }), answer, url);
  relay.shouldHandle = ({ headers }) => headers.origin === 'https://friend.example';
  assert.match(await ask(web, upgradeRequest('/relay')), /^HTTP\/1\.1 404 /);
  const socket = new WebSocket(`ws://127.0.0.1:${relay.address().port}/any`, { origin: 'https://friend.example' });
  await once(socket, 'open');
  socket.terminate();
});

test("takes 'listening', address() and errors from the server, even one that listens already", async (t) => {
  const web = await open(t, express().listen(0, '127.0.0.1'));
  const heard = [];
  const relay = new RelayServer({ server: web }, () => heard.push('callback'));
  t.after(() => relay.close());
  assert.deepEqual(relay.address(), web.address());
  await once(relay, 'listening');
  assert.deepEqual(heard, ['callback']);
  const late = http.createServer();
  const attached = new RelayServer({ server: late });
  t.after(() => attached.close());
  assert.equal(attached.address(), null);
  late.listen(web.address().port, '127.0.0.1');
  const [error] = await once(attached, 'error');
  assert.equal(error.code, 'EADDRINUSE');
  // It can still listen elsewhere.
  late.listen(0, '127.0.0.1');
  t.after(() => late.close());
  await once(attached, 'listening');
  assert.equal(attached.address().port, late.address().port);
  const alone = new RelayServer({ noServer: true });
  await once(alone, 'listening');
  assert.equal(alone.address(), null);
  await alone.close();
});

for (const [way, make] of Object.entries({ detached: (web) => web, bridged: keepsSockets })) {
  test(`${way}: close() ends the relay's connections and restores the server's listeners`, async (t) => {
    const web = await open(t, make(http.createServer((request, response) => response.end('still here'))));
    const counts = () => ['listening', 'error', 'upgrade'].map((name) => web.listenerCount(name));
    const before = counts();
    const relay = new RelayServer({ server: web, path: '/relay' });
    const { port } = relay.address();
    const url = `ws://127.0.0.1:${port}/relay`;
    const connections = await Promise.all(
      [relay.registerClient(), relay.registerClient()].map((client) => Connection.open({ url }, client)),
    );
    const raw = net.connect(port, '127.0.0.1', () => raw.write(upgradeRequest('/relay')));
    await once(raw, 'data');
    const heard = [];
    relay.on('close', () => heard.push('close'));
    await Promise.all([relay.close(), new Promise((resolve) => relay.close(resolve)), once(raw.resume(), 'close')]);
    for (const { closed } of connections) assert.equal((await closed).code, 1001);
    assert.deepEqual(heard, ['close']);
    assert.equal(relay.address(), null);
    assert.deepEqual(counts(), before);
    assert.equal(await (await fetch(`http://127.0.0.1:${port}/`)).text(), 'still here');
    // handleUpgrade() still answers.
    const told = new Promise((resolve) => {
      web.once('upgrade', (request, socket, head) => resolve(relay.handleUpgrade(request, socket, head)));
    });
    assert.match(await ask(web, upgradeRequest('/relay')), /^HTTP\/1\.1 503 /);
    await told;
    await relay.close();
  });

  test(`${way}: keeps connections when the server closes first, until the relay closes`, async (t) => {
    const web = make(http.createServer());
    const relay = await attach(t, web);
    const [one, two] = await talk(relay);
    const kept = await countConnections(web);
    assert.equal(kept, way === 'bridged' || process.platform === 'win32' ? 2 : 0);
    const closed = new Promise((resolve) => web.close(resolve));
    web.closeAllConnections();
    assert.equal(relay.address(), null);
    one.relay(1, 'still there');
    assert.equal((await two.relayed()).message, 'still there');
    await relay.close();
    await closed;
    assert.deepEqual([(await one.closed).code, (await two.closed).code], [1001, 1001]);
    web.listen(0);
  });

  test(`${way}: applies the limits of its own port`, async (t) => {
    const relay = await attach(t, make(http.createServer()), { maxConnections: 2, authTimeout: 300, maxOffences: 2 });
    const [silent, rude] = [await Connection.open(relay), await Connection.open(relay)];
    const third = await Connection.open(relay);
    assert.equal((await third.closed).code, 1013);
    rude.send('null');
    rude.send('null');
    assert.ok([4504, 4000].includes((await rude.closed).code));
    assert.equal((await silent.closed).code, 4000);
    // Their places are free once they have ended.
    const gone = once(relay, 'connection');
    const connection = new Connection(relay);
    connection.socket.on('open', () => connection.authenticate(relay.registerClient()));
    await Promise.race([gone, connection.closed]);
    connection.socket.terminate();
  });

  test(`${way}: keeps bytes that come with the request, and in pieces behind it`, async (t) => {
    const relay = await attach(t, make(http.createServer()));
    const [ada, grace] = pair(relay);
    const two = await Connection.open(relay, grace);
    const frames = [
      { authentication: { clientId: ada.id, token: ada.token } },
      { relay: { targetId: grace.id, message: 'early' } },
    ].map(jsonFrame);
    const bytes = Buffer.concat([Buffer.from(upgradeRequest('/relay')), ...frames]);
    for (let size = bytes.length; size > 40; size = Math.ceil(size / 2)) {
      const socket = net.connect(relay.address().port, '127.0.0.1');
      for (let at = 0; at < bytes.length; at += size) {
        socket.write(bytes.subarray(at, at + size));
        await new Promise((resolve) => setImmediate(resolve));
      }
      assert.equal((await two.relayed()).message, 'early');
      socket.destroy();
    }
  });
}

test("emits 'listening' once for a server that is about to listen", async (t) => {
  const web = http.createServer().listen(0, '127.0.0.1');
  const relay = new RelayServer({ server: web });
  t.after(async () => {
    await relay.close();
    web.close();
  });
  let times = 0;
  relay.on('listening', () => (times += 1));
  await once(web, 'listening');
  // A late event would come within one turn.
  await new Promise(setImmediate);
  assert.equal(times, 1);
});

test('does not answer a socket twice', async (t) => {
  const web = http.createServer();
  const relay = await attach(t, web);
  const again = new Promise((resolve) => {
    web.on('upgrade', (request, socket, head) => {
      try {
        resolve(relay.handleUpgrade(request, socket, head));
      } catch (error) {
        resolve(error);
      }
    });
  });
  await talk(relay);
  assert.equal((await again).code, 'ERR_SOCKET_TAKEN');
});

test('attaches to a server on a Unix socket', { skip: process.platform === 'win32' && 'no such files' }, async (t) => {
  const path = join(tmpdir(), `websocket-relay-${process.pid}.sock`);
  rmSync(path, { force: true });
  const web = http.createServer();
  t.after(() => web.close());
  const relay = new RelayServer({ server: web.listen(path) });
  t.after(() => relay.close());
  await once(relay, 'listening');
  assert.equal(relay.address(), null);
  for (const connection of await talk(Object.assign(relay, { url: `ws+unix://${path}:/` }))) connection.socket.terminate();
});

test('bridges a connection that cannot be detached', { skip: process.platform === 'win32' && 'none is' }, async (t) => {
  const web = http.createServer();
  const relay = await attach(t, web);
  const folder = await openFolder(tmpdir());
  t.after(() => folder.close());
  for (const fd of [folder.fd, web._handle.fd, 1_000_000, -1, undefined]) {
    web.once('connection', (socket) => {
      web.once('connection', (second) => Object.defineProperty(second._handle, 'fd', { value: fd }));
      Object.defineProperty(socket._handle, 'fd', { value: fd });
    });
    const connections = await talk(relay);
    const kept = await countConnections(web);
    assert.equal(kept, 2, `descriptor ${fd}`);
    for (const { socket, closed } of connections) {
      socket.close();
      await closed;
    }
    while ((await countConnections(web)) > 0) await new Promise((resolve) => setImmediate(resolve));
  }
  // They are unchanged.
  await folder.stat();
  await talk(relay);
});

test('detaching connections leaks no descriptor and closes none twice', { skip: !existsSync('/proc/self/fd') && 'needs /proc' }, async (t) => {
  const web = http.createServer();
  const relay = await attach(t, web);
  const open = () => readdirSync('/proc/self/fd').length;
  const visit = async (end) => {
    const connection = await Connection.open(relay);
    end(connection.socket);
    await connection.closed;
  };
  await visit((socket) => socket.close());
  const before = open();
  for (let round = 0; round < 10; round += 1) {
    await Promise.all(Array.from({ length: 50 }, (_, n) => visit((socket) => (n % 2 ? socket.close() : socket.terminate()))));
    // Rejected, and reset in the handshake.
    await ask(web, upgradeRequest('/relay').replace('13', '8'));
    const socket = net.connect(web.address().port, '127.0.0.1', () => socket.end(upgradeRequest('/relay')));
    await once(socket.resume(), 'close');
  }
  // The relay's thread closes its ends soon after the clients'.
  while (open() > before) await new Promise((resolve) => setImmediate(resolve));
  // While closing, too.
  const last = Array.from({ length: 50 }, () => new Connection(relay));
  await once(web, 'upgrade');
  await relay.close();
  last.forEach(({ socket }) => socket.terminate());
  await Promise.all(last.map(({ closed }) => closed));
  web.closeAllConnections();
  while (open() > before) await new Promise((resolve) => setImmediate(resolve));
});

test('keeps the process alive exactly while the relay has connections', async () => {
  for (const rest of ['', 'relay.unref();']) {
    const source = `
      import http from 'node:http';
      import RelayServer from 'websocket-relay';
      const web = http.createServer();
      const relay = new RelayServer({ server: web });
      relay.on('connection', () => web.close(() => { console.log('server closed'); ${rest} }));
      web.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: web.address().port, client: relay.registerClient() })));`;
    const child = spawn(process.execPath, ['--input-type=module', '--eval', source], {
      cwd: fileURLToPath(new URL('../..', import.meta.url)),
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = once(child, 'exit');
    const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
    const { port, client } = JSON.parse((await lines.next()).value);
    const { socket, closed } = await Connection.open({ url: `ws://127.0.0.1:${port}` }, client);
    assert.equal((await lines.next()).value, 'server closed');
    if (!rest) {
      for (let n = 0; n < 100; n += 1) {
        socket.ping();
        await once(socket, 'pong');
      }
      socket.close();
      assert.equal((await closed).code, 1005);
    }
    assert.deepEqual(await ended, [0, null]);
    await closed;
  }
});

test('survives the termination of worker threads with attached relays under traffic', async () => {
  const source = (isBridged) => `
    const RelayServer = require(${JSON.stringify(new URL('../..', import.meta.url).pathname)});
    const http = require('node:http');
    const { parentPort } = require('node:worker_threads');
    const web = http.createServer();
    if (${isBridged}) web.on('connection', (socket) => (socket.encrypted = true));
    const server = new RelayServer({ server: web, path: '/relay' }, () => {
      const clients = [server.registerClient(), server.registerClient()];
      server.registerRelayChannel(0, 1);
      parentPort.postMessage({ clients, url: 'ws://127.0.0.1:' + server.address().port + '/relay' });
    });
    web.listen(0, '127.0.0.1');
    server.on('connection', () => {});`;
  for (let round = 0; round < 5; round += 1) {
    await Promise.all([true, false, true, false].map((isBridged) => terminateInTraffic(source(isBridged))));
  }
});
