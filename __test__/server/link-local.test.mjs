// Link-local IPv6 addresses, which need the name of their interface.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import { networkInterfaces } from 'node:os';
import test from 'node:test';
import RelayServer from 'websocket-relay';
import { upgradeRequest } from './raw.mjs';
import { knock, listen, run, statusOf } from './support.mjs';

const found = Object.entries(networkInterfaces()).flatMap(([name, addresses]) =>
  addresses.filter(({ address }) => address.startsWith('fe80:')).map(({ address, scopeid }) => ({ name, address, scopeid })),
);
const link = found[0];
const host = link && `${link.address}%${process.platform === 'win32' ? link.scopeid : link.name}`;
const skip = !link && 'no interface has a link-local address';

/** An http server on a link-local address. */
async function serve(t, options) {
  const web = http.createServer().listen(0, host);
  await once(web, 'listening');
  const relay = new RelayServer({ server: web, ...options });
  t.after(async () => {
    await relay.close();
    web.close().closeAllConnections();
  });
  return [relay, web];
}

/** Returns the status of an upgrade request. URLs cannot contain zones, so the socket is opened directly. */
async function knockAt(port) {
  const socket = net.connect(port, host);
  socket.write(upgradeRequest());
  const [chunk] = await once(socket, 'data');
  return { status: Number(String(chunk).slice(9, 12)), socket };
}

for (const [way, open] of Object.entries({
  'its own port': async (t, options) => {
    const relay = await listen(t, { host, ...options });
    return [relay, relay];
  },
  'an http server': serve,
})) {
  test(`${way}: reports the address of a link-local client, and limits it`, { skip }, async (t) => {
    for (const trustProxy of [false, 'linklocal']) {
      const seen = [];
      const [, web] = await open(t, { trustProxy, maxConnectionsPerAddress: 1, verifyClient: ({ remoteAddress }) => seen.push(remoteAddress) });
      const { address, family, port } = web.address();
      assert.deepEqual({ address, family }, { address: host, family: 'IPv6' });
      const { status, socket } = await knockAt(port);
      assert.equal(status, 101);
      assert.deepEqual(seen, [host]);
      const second = await knockAt(port);
      assert.equal(second.status, 429);
      for (const one of [socket, second.socket]) one.destroy();
    }
  });
}

/** A socket that reports this remote address. */
function comesFrom(address) {
  return (socket) => Object.defineProperty(socket, 'remoteAddress', { value: address });
}

test('limits the same address on another link separately, and one without an interface too', async (t) => {
  const web = http.createServer().listen(0, '127.0.0.1');
  await once(web, 'listening');
  const relay = new RelayServer({ server: web, maxConnectionsPerAddress: 1 });
  t.after(async () => {
    await relay.close();
    web.close().closeAllConnections();
  });
  const place = { url: `ws://127.0.0.1:${web.address().port}` };
  const from = async (address) => {
    web.once('connection', comesFrom(address));
    return statusOfKept(place);
  };
  const kept = [];
  const statusOfKept = async () => {
    const { status, socket } = await knock(place);
    if (socket) kept.push(socket);
    return status;
  };
  for (const address of ['fe80::1%1', 'fe80::1%2', 'fe80::1%no-such', '2001:db8::1', '192.0.2.1']) assert.equal(await from(address), 101, address);
  for (const address of ['fe80::1%1', 'fe80::2%2', 'fe80::1%gone', '2001:db8::2', '::ffff:192.0.2.1']) assert.equal(await from(address), 429, address);
  if (process.platform === 'linux') assert.equal(await from('fe80::3%lo'), 429, 'the first interface');
  kept.forEach((socket) => socket.terminate());
});

test('reads the address through a stream that wraps the socket', async (t) => {
  const web = http.createServer().listen(0, '127.0.0.1');
  await once(web, 'listening');
  const relay = new RelayServer({ noServer: true, maxConnectionsPerAddress: 1 });
  t.after(async () => {
    await relay.close();
    web.close().closeAllConnections();
  });
  web.on('upgrade', (request, socket, head) => {
    const around = new Proxy(socket, {
      get: (target, name) => (name === 'remoteAddress' ? undefined : typeof target[name] === 'function' ? target[name].bind(target) : target[name]),
    });
    relay.handleUpgrade(request, around, head);
  });
  const place = { url: `ws://127.0.0.1:${web.address().port}` };
  const { status, socket } = await knock(place);
  assert.equal(status, 101);
  assert.equal(await statusOf(place), 429);
  socket.terminate();
});

test("emits Node's error for an unusable host, and keeps nothing alive", async () => {
  for (const odd of ['fe80::1%no-such', 'fe80::1', '2001:db8::1']) {
    const { code, stdout, stderr } = await run(`
      import net from 'node:net';
      import RelayServer from 'websocket-relay';
      const print = ({ code, message, syscall, errno, address, port }) => console.log(JSON.stringify({ code, message, syscall, errno, address, port }));
      new RelayServer({ port: 0, host: '${odd}' }).on('error', (error) => {
        print(error);
        net.createServer().on('error', print).listen(0, '${odd}');
      });`);
    const [ours, node] = stdout.trim().split('\n').map((line) => JSON.parse(line));
    assert.ok(ours.code, stderr);
    assert.deepEqual([code, ours], [0, node], odd);
  }
});

test('keeps nothing alive after a constructor that throws', async () => {
  for (const broken of [
    // A server that refuses another listener.
    `const server = http.createServer(); server.on = () => { throw new Error('mine'); }; make({ server });`,
    `const dns = require('node:dns'); dns.lookup = () => { throw new Error('mine'); }; make({ port: 0, host: 'localhost' });`,
    `const { signal } = new AbortController(); signal.addEventListener = () => { throw new Error('mine'); }; make({ port: 0, signal });`,
  ]) {
    const { code, stdout, stderr } = await run(`
      import http from 'node:http';
      import { createRequire } from 'node:module';
      import RelayServer from 'websocket-relay';
      const require = createRequire(import.meta.url);
      const make = (options) => { try { new RelayServer(options); } catch (error) { console.log(error.message); } };
      ${broken}`);
    assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: 'mine\n', stderr: '' });
  }
});
