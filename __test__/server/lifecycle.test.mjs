// Listening, closing, and keeping the process alive.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import test from 'node:test';
import RelayServer from 'websocket-relay';
import { Connection, listen, pair, run } from './support.mjs';
import { onItsPort, terminateInTraffic } from './workers.mjs';

test('calls back once the port is open, with its address()', async () => {
  const server = new RelayServer({ port: 0 }, function () {
    assert.equal(this, server);
    heard.push('callback');
  });
  const heard = [];
  server.on('listening', () => heard.push('listening'));
  assert.equal(server.address(), null);
  // Before it listens, as in the first example.
  server.registerRelayChannel(server.registerClient().id, server.registerClient().id);
  await once(server, 'listening');
  assert.deepEqual(heard, ['callback', 'listening']);
  const { address, family, port } = server.address();
  assert.ok(port > 0 && ['IPv4', 'IPv6'].includes(family) && net.isIP(address));
  for (const host of ['127.0.0.1', 'localhost']) {
    const socket = net.connect(port, host);
    await once(socket, 'connect');
    socket.destroy();
  }
  await server.close();
  assert.equal(server.address(), null);
});

test('looks up a host name', async (t) => {
  const server = await listen(t, { host: 'localhost' });
  assert.ok(['127.0.0.1', '::1'].includes(server.address().address));
});

/** Returns the error that Node's own server emits. */
async function errorOfNode(port, host) {
  const server = net.createServer();
  server.listen(port, host);
  const [error] = await once(server, 'error');
  return error;
}

async function errorOfOurs(port, host) {
  const server = new RelayServer({ port, host });
  const [error] = await once(server, 'error');
  return error;
}

test("emits Node's error for a port in use", async (t) => {
  const { port, address } = (await listen(t)).address();
  const [ours, node] = [await errorOfOurs(port, address), await errorOfNode(port, address)];
  assert.equal(ours.code, 'EADDRINUSE');
  assert.equal(ours.message, node.message);
  assert.deepEqual({ ...ours }, { ...node });
});

test("emits Node's error for an unknown or foreign host", async () => {
  for (const host of ['no-such-host.invalid', '203.0.113.1']) {
    const [ours, node] = [await errorOfOurs(0, host), await errorOfNode(0, host)];
    assert.equal(ours.code, node.code);
    assert.equal(ours.message, node.message);
    assert.deepEqual({ ...ours }, { ...node });
  }
});

test("emits Node's error for a privileged port", { skip: process.platform === 'win32' && 'every port may be opened' }, async () => {
  const { stdout, stderr } = await run(`
    import RelayServer from 'websocket-relay';
    import net from 'node:net';
    // Drops privileges: root may open every port.
    if (process.getuid() === 0) { process.setgid(65534); process.setuid(65534); }
    const print = ({ code, message, syscall, errno }) => console.log(JSON.stringify({ code, message, syscall, errno }));
    new RelayServer({ port: 1, host: '127.0.0.1' }).on('error', (error) => {
      print(error);
      net.createServer().on('error', print).listen(1, '127.0.0.1');
    });`);
  const [ours, node] = stdout.trim().split('\n').map((line) => JSON.parse(line));
  assert.equal(ours?.code, 'EACCES', stderr);
  assert.deepEqual(ours, node);
});

test("throws a failed listen without an 'error' listener", async (t) => {
  const { port } = (await listen(t)).address();
  const { code, stderr } = await run(`
    import RelayServer from 'websocket-relay';
    new RelayServer({ port: ${port}, host: '127.0.0.1' });`);
  assert.notEqual(code, 0);
  assert.match(stderr, /Error: listen EADDRINUSE: address already in use 127\.0\.0\.1:/);
});

test('close() ends connections with 1001, frees the port and calls back', async (t) => {
  const server = await listen(t);
  const { port } = server.address();
  const [ada] = pair(server);
  const connected = once(server, 'connection');
  const connections = [await Connection.open(server, ada), await Connection.open(server)];
  await connected;
  const heard = [];
  server.on('disconnect', (...args) => heard.push(['disconnect', ...args]));
  server.on('close', () => heard.push(['close']));
  const error = await new Promise((resolve) => server.close(resolve));
  assert.equal(error, undefined);
  for (const { closed } of connections) assert.equal((await closed).code, 1001);
  assert.deepEqual(heard, [['disconnect', ada.id, 1001, 'the server is closing'], ['close']]);
  const next = await listen(t, { port });
  assert.equal(next.address().port, port);
});

test('close() calls each callback once, whenever and however often it is called', async (t) => {
  const closing = (server) => new Promise((resolve) => server.close((...args) => resolve(args)));
  // Before listening, during the host lookup, twice, and again when closed.
  for (const host of [undefined, '127.0.0.1', 'localhost']) {
    const server = new RelayServer({ port: 0, host }, () => assert.fail('it was closed before'));
    assert.deepEqual(await Promise.all([closing(server), closing(server)]), [[undefined], [undefined]]);
    assert.deepEqual(await closing(server), [undefined]);
    await server.close();
  }
  // After a failed listen, with the error.
  const { port, address } = (await listen(t)).address();
  const failed = new RelayServer({ port, host: address });
  const [error] = await once(failed, 'error');
  assert.deepEqual(await Promise.all([closing(failed), closing(failed)]), [[error], [error]]);
  assert.deepEqual(await closing(failed), [error]);
  await assert.rejects(failed.close(), error);
  // A promise that is not awaited causes no unhandled rejection.
  failed.close();
  // From the constructor's callback, and from its own.
  await new Promise((resolve) => {
    const server = new RelayServer({ port: 0 }, () => server.close(() => server.close(resolve)));
  });
  assert.throws(() => failed.close(1), { code: 'ERR_INVALID_ARG_TYPE' });
});

test('keeps the process alive until closed or unref()ed', async () => {
  const start = `
    import RelayServer from 'websocket-relay';
    import net from 'node:net';
    process.on('exit', () => console.log('exit'));
    const server = new RelayServer({ port: 0, host: '127.0.0.1' }, () => `;
  // An unref()ed connection: only the server keeps the process alive.
  const later = `{ net.connect(server.address().port, '127.0.0.1').unref().on('connect', () => {
    console.log('alive'); server.close(() => console.log('closed')); }); });`;
  assert.equal((await run(start + later)).stdout, 'alive\nclosed\nexit\n');
  assert.match((await run(`${start} console.log('listening')); server.unref();`)).stdout, /^(listening\n)?exit\n$/);
  assert.equal((await run(`${start} console.log('listening')).unref(); server.ref(); server.unref().ref();
    server.on('listening', () => server.unref());`)).stdout, 'listening\nexit\n');
  // A failed listen keeps nothing alive.
  const { stdout } = await run(`${start} {
    const second = new RelayServer({ port: server.address().port, host: '127.0.0.1' });
    second.on('error', (error) => { console.log(error.code); server.close(); }); });`);
  assert.equal(stdout, 'EADDRINUSE\nexit\n');
});

test('keeps an unreferenced server listening', async () => {
  const { stdout } = await run(`
    import RelayServer from 'websocket-relay';
    import net from 'node:net';
    import { setFlagsFromString } from 'node:v8';
    import { runInNewContext } from 'node:vm';
    setFlagsFromString('--expose-gc');
    const gc = runInNewContext('gc');
    (() => new RelayServer({ port: 0, host: '127.0.0.1' }).on('listening', function () {
      const { port } = this.address();
      const server = new WeakRef(this);
      setImmediate(() => {
        gc();
        net.connect(port, '127.0.0.1', () => { console.log('served'); server.deref().close(); }).unref();
      });
    }))();`);
  assert.equal(stdout, 'served\n');
});

test('exits cleanly on process.exit() while listening', async () => {
  const { code, signal, stderr } = await run(`
    import RelayServer from 'websocket-relay';
    const servers = [1, 1, 1, 4, 4].map((threads) => new RelayServer({ port: 0, threads }));
    servers[4].on('listening', () => process.exit(7));`);
  assert.deepEqual({ code, signal, stderr }, { code: 7, signal: null, stderr: '' });
});

test('survives the termination of worker threads with servers under traffic', async () => {
  for (let round = 0; round < 10; round += 1) {
    await Promise.all([1, 2, 3].map(() => terminateInTraffic(onItsPort)));
  }
});

test('keeps several servers in one process apart', async (t) => {
  const servers = await Promise.all([1, 2, 3].map(() => listen(t)));
  const clients = servers.map((server) => pair(server));
  const connections = await Promise.all(
    servers.map((server, n) => Promise.all(clients[n].map((client) => Connection.open(server, client)))),
  );
  connections.forEach(([one], n) => one.relay(1, `of server ${n}`));
  for (const [n, [, two]] of connections.entries()) {
    assert.deepEqual(await two.relayed(), { senderId: 0, message: `of server ${n}` });
  }
  const stranger = await Connection.open(servers[0], clients[1][0]);
  assert.equal((await stranger.closed).code, 4500);
});
