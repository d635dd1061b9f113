// A closed server releases its resources, and an unreferenced one is collected.
import assert from 'node:assert/strict';
import test from 'node:test';
import { run } from './support.mjs';

/** The beginning of each program. `gone(count)` waits until that many of the `watched` servers are collected. */
const START = `
  import RelayServer from 'websocket-relay';
  import { once } from 'node:events';
  import { readdirSync } from 'node:fs';
  import http from 'node:http';
  import { setFlagsFromString } from 'node:v8';
  import { runInNewContext } from 'node:vm';
  import WebSocket from 'ws';
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc');
  let collected = 0;
  const registry = new FinalizationRegistry(() => (collected += 1));
  const watched = (server) => (registry.register(server), server);
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  async function gone(count) {
    for (let n = 0; n < 200 && collected < count; n += 1) {
      gc();
      await turn();
    }
    return collected;
  }
  const count = (folder) => readdirSync('/proc/self/' + folder).length;
  /** Returns the number of threads and descriptors of this process. */
  const held = () => (process.platform === 'linux' ? { threads: count('task'), descriptors: count('fd') } : {});
  const port = { port: 0, host: '127.0.0.1' };
  async function client(server, url, { id, token } = server.registerClient()) {
    const socket = new WebSocket(url ?? 'ws://127.0.0.1:' + server.address().port);
    await once(socket, 'open');
    socket.send(JSON.stringify({ authentication: { clientId: id, token } }));
    while (!server.isConnected(id)) await turn();
    return socket;
  }
`;

/** Ways in which servers come and go. Each makes one. */
const LIVES = {
  'closed after serving': `async () => {
    const server = watched(new RelayServer({ ...port, threads: 2, verifyClient: () => true }));
    server.on('connection', () => server.stats()).on('error', () => {}).on('expired', () => {});
    await once(server, 'listening');
    const socket = await client(server);
    const closed = once(socket, 'close');
    await Promise.all([server.close(), closed]);
  }`,
  'closed at once': `() => watched(new RelayServer(port)).close()`,
  'drained': `async () => {
    const server = watched(new RelayServer(port));
    await once(server, 'listening');
    const socket = await client(server);
    await server.close({ timeout: 10_000 });
    if (socket.readyState !== WebSocket.CLOSED) await once(socket, 'close');
  }`,
  'with a port in use': `async () => {
    const server = watched(new RelayServer({ port: taken.address().port, host: '127.0.0.1' }));
    await once(server, 'error');
    await server.close().catch(() => {});
  }`,
  'with a port in use, not closed': `async () => {
    const server = watched(new RelayServer({ port: taken.address().port, host: '127.0.0.1' }));
    server.on('error', () => {});
    await new Promise((resolve) => server.on('close', resolve));
  }`,
  'with an unknown host': `async () => {
    const server = watched(new RelayServer({ port: 0, host: 'no-such-host.invalid' }));
    await new Promise((resolve) => server.on('error', () => {}).on('close', resolve));
  }`,
  'with noServer, closed': `async () => {
    const server = watched(new RelayServer({ noServer: true, verifyClient: async () => true }));
    server.registerClient({ data: server, expiresIn: 1_000_000 });
    await server.close();
  }`,
  'with noServer, never closed': `async () => {
    const server = watched(new RelayServer({ noServer: true, allowedOrigins: /x/ }));
    server.on('connection', () => server.stats());
    server.registerClient({ data: server, expiresIn: 1_000_000 });
    await once(server, 'listening');
  }`,
  'attached to an http server, closed': `async () => {
    const server = watched(new RelayServer({ server: web, path: '/relay' }));
    const socket = await client(server, 'ws://127.0.0.1:' + web.address().port + '/relay');
    const closed = once(socket, 'close');
    await Promise.all([server.close(), closed]);
  }`,
  'attached to an http server that is unreferenced too': `async () => {
    const own = http.createServer();
    const server = watched(new RelayServer({ server: own }));
    own.listen(0, '127.0.0.1');
    await once(own, 'listening');
    const socket = await client(server, 'ws://127.0.0.1:' + own.address().port);
    const closed = once(socket, 'close');
    socket.close();
    await closed;
    await new Promise((resolve) => own.close(resolve));
  }`,
  'with handleUpgrade() and both kinds of connections': `async () => {
    for (const encrypted of [false, true]) {
      const own = http.createServer();
      // A socket that stays with Node, as with TLS.
      own.on('connection', (socket) => encrypted && (socket.encrypted = true));
      const server = new RelayServer({ noServer: true });
      if (encrypted) watched(server);
      own.on('upgrade', (request, socket, head) => server.handleUpgrade(request, socket, head));
      own.listen(0, '127.0.0.1');
      await once(own, 'listening');
      const socket = await client(server, 'ws://127.0.0.1:' + own.address().port);
      const closed = once(socket, 'close');
      socket.terminate();
      await closed;
      await new Promise((resolve) => own.close(resolve));
    }
  }`,
  'with a longer-lived signal': `async () => {
    const server = watched(new RelayServer({ ...port, signal: long.signal }));
    await once(server, 'listening');
    await server.close();
  }`,
  'with an aborted signal': `async () => {
    const own = new AbortController();
    const server = watched(new RelayServer({ ...port, signal: own.signal }));
    await once(server, 'listening');
    own.abort();
    await once(server, 'close');
  }`,
};

test('collects an unreferenced server, with its threads and descriptors', async (t) => {
  const lives = Object.entries(LIVES).map(([name, life]) => `${JSON.stringify(name)}: ${life},`);
  const { stdout, stderr, code } = await run(`${START}
    const taken = http.createServer().listen(0, '127.0.0.1');
    const web = http.createServer().listen(0, '127.0.0.1');
    await Promise.all([once(taken, 'listening'), once(web, 'listening')]);
    const long = new AbortController();
    const COUNT = 10;
    for (const [name, live] of Object.entries({ ${lives.join('\n')} })) {
      // Everything that is created only once.
      await live();
      await gone(1);
      const before = held();
      collected = 0;
      for (let n = 0; n < COUNT; n += 1) await live();
      // A local variable may hold the last one.
      await gone(COUNT - 1);
      console.log(JSON.stringify({ name, missing: COUNT - collected, before, after: held() }));
      // So that it does not count in the next round.
      await gone(COUNT);
    }
    process.exit();`);
  assert.equal(code, 0, stderr);
  for (const line of stdout.trim().split('\n')) {
    const { name, missing, before, after } = JSON.parse(line);
    await t.test(name, () => {
      assert.ok(missing <= 1, `${missing} of 10 were not collected`);
      if (process.platform !== 'linux') return;
      // As many as one server that is not collected yet may have.
      assert.ok(after.threads <= before.threads + 1, `${before.threads} threads, then ${after.threads}`);
      assert.ok(after.descriptors <= before.descriptors + 8, `${before.descriptors} descriptors, then ${after.descriptors}`);
    });
  }
});

test('close() releases threads, descriptors and messages of a referenced server', { skip: process.platform !== 'linux' && 'counted in /proc' }, async () => {
  const { stdout, stderr, code } = await run(`${START}
    const MESSAGE = 'x'.repeat(1_000_000);
    async function live() {
      const server = new RelayServer({ ...port, threads: 4, maxTotalBytes: 2 ** 30, maxQueuedBytes: 2 ** 26 });
      await once(server, 'listening');
      const [ada, grace] = [server.registerClient({ data: 'Ada' }), server.registerClient()];
      server.registerRelayChannel(ada.id, grace.id);
      const socket = await client(server, undefined, ada);
      for (let n = 0; n < 20; n += 1) socket.send(JSON.stringify({ relay: { targetId: grace.id, message: MESSAGE } }));
      while (server.stats().queuedMessages < 20) await turn();
      const closed = once(socket, 'close');
      await Promise.all([server.close(), closed]);
      return { server, ada, grace };
    }
    const rss = () => (gc(), process.memoryUsage().rss / 1e6);
    const kept = [await live()];
    await turn();
    const before = { ...held(), rss: rss() };
    for (let n = 0; n < 4; n += 1) kept.push(await live());
    const after = { ...held(), rss: rss() };
    const { server, ada, grace } = kept[0];
    const calls = {
      clients: () => [...server.clients()],
      isConnected: () => server.isConnected(ada.id),
      address: () => server.address(),
      shouldHandle: () => server.shouldHandle({ url: '/' }),
      disconnectClient: () => server.disconnectClient(ada.id),
      registerClient: () => typeof server.registerClient({ expiresIn: 1000 }).token,
      refreshToken: () => typeof server.refreshToken(ada.id),
      registerRelayChannels: () => server.registerRelayChannels([ada.id, grace.id]),
      unregisterRelayChannel: () => server.unregisterRelayChannel(ada.id, grace.id),
      unregisterClient: () => server.unregisterClient(ada.id),
      unref: () => server.unref() === server && server.ref() === server,
      close: () => server.close({ timeout: 1 }) instanceof Promise,
    };
    const answers = Object.fromEntries(Object.entries(calls).map(([name, call]) => [name, call() ?? null]));
    const { queuedMessages, queuedBytes, relayedMessages, connections } = server.stats();
    console.log(JSON.stringify({ before, after, answers, stats: { queuedMessages, queuedBytes, relayedMessages, connections }, kept: kept.length }));`);
  assert.equal(code, 0, stderr);
  const { before, after, answers, stats } = JSON.parse(stdout);
  assert.equal(after.threads, before.threads);
  assert.ok(after.descriptors <= before.descriptors, `${before.descriptors} descriptors, then ${after.descriptors}`);
  assert.ok(after.rss < before.rss + 40, `${before.rss} MB, then ${after.rss}: the messages were 80`);
  assert.deepEqual(answers, {
    clients: [
      { id: 0, connected: false, queuedMessages: 0, queuedBytes: 0, data: 'Ada' },
      { id: 1, connected: false, queuedMessages: 0, queuedBytes: 0 },
    ],
    isConnected: false,
    address: null,
    shouldHandle: true,
    disconnectClient: false,
    registerClient: 'string',
    refreshToken: 'string',
    registerRelayChannels: 0,
    unregisterRelayChannel: null,
    unregisterClient: null,
    unref: true,
    close: true,
  });
  assert.deepEqual(stats, { queuedMessages: 0, queuedBytes: 0, relayedMessages: 20, connections: 0 });
});

test('keeps an unreferenced relay while it has connections, is closing, or is verifying', async () => {
  const { stdout, stderr } = await run(`${START}
    const told = [];
    const own = http.createServer();
    let relay = watched(new RelayServer({ noServer: true, verifyClient: (info, done) => setTimeout(done, 100, true) }));
    relay.on('disconnect', (id, code) => told.push(['disconnect', id, code])).on('close', () => told.push('close'));
    const [one, two] = [relay.registerClient(), relay.registerClient()];
    own.once('upgrade', (...args) => {
      relay.handleUpgrade(...args);
      relay = undefined;
      collecting = setInterval(gc, 10);
    });
    let collecting;
    own.listen(0, '127.0.0.1');
    await once(own, 'listening');
    const socket = new WebSocket('ws://127.0.0.1:' + own.address().port);
    await once(socket, 'open');
    socket.send(JSON.stringify({ authentication: { clientId: one.id, token: one.token } }));
    await new Promise((resolve) => own.close(resolve));
    // Long enough for it to be collected.
    for (let n = 0; n < 100; n += 1) await turn();
    socket.ping();
    await once(socket, 'pong');
    console.log(collected);
    const closed = once(socket, 'close');
    socket.close(4321);
    await closed;
    while (told.length < 1) await turn();
    clearInterval(collecting);
    console.log(JSON.stringify(told), await gone(1));
    new RelayServer({ noServer: true }).close().then(() => console.log('closed'));
    for (let n = 0; n < 100; n += 1) (gc(), await turn());`);
  assert.equal(stdout, `0\n[["disconnect",0,4321]] 1\nclosed\n`, stderr);
});
