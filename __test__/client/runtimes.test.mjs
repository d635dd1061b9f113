// The client in runtimes with fewer APIs than a browser, such as React Native.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import vm from 'node:vm';
import WebSocket from 'ws';
import RelayServer from 'websocket-relay';
import { startServer } from './server.mjs';

// The file that Metro, the bundler of React Native, uses.
const bundle = readFileSync(new URL('../../dist/client.browser.cjs', import.meta.url), 'utf8');

/** A WebSocket like React Native's: events omit unknown members, and there is no `bufferedAmount`. */
class NativeSocket {
  #socket;
  constructor(url) {
    this.#socket = new WebSocket(url);
    this.#socket.onopen = () => this.onopen?.({});
    this.#socket.onmessage = ({ data }) => this.onmessage?.({ data });
    this.#socket.onerror = ({ message }) => this.onerror?.({ message });
    this.#socket.onclose = ({ code, reason }) => this.onclose?.({ code: code === 1006 ? undefined : code, reason: reason || undefined });
  }
  get readyState() {
    return this.#socket.readyState;
  }
  send(text) {
    this.#socket.send(text);
  }
  close(code, reason) {
    this.#socket.close(code, reason);
  }
}

const RUNTIMES = {
  'React Native without crypto': {},
  'React Native with a crypto without getRandomValues': { crypto: {}, navigator: { product: 'ReactNative' }, performance: { now: () => 0 }, location: undefined },
  'a runtime without 64-bit arrays': { crypto: { getRandomValues: (bytes) => bytes.fill(10) }, BigUint64Array: undefined, BigInt: undefined },
  'a runtime whose getRandomValues throws': { crypto: { getRandomValues: () => { throw new Error('no'); } } },
  'a window without event listeners': { document: {}, location: {} },
};

/** Loads the client with only these globals. */
function load(globals) {
  const context = vm.createContext({ WebSocket: NativeSocket, setTimeout, clearTimeout, module: {}, ...globals });
  // A context of Node has some globals that these runtimes lack.
  vm.runInContext('for (const name of ["queueMicrotask", "structuredClone", "WeakRef", "FinalizationRegistry"]) delete globalThis[name]', context);
  for (const [name, value] of Object.entries(globals)) if (value === undefined) vm.runInContext(`globalThis.${name} = undefined`, context);
  vm.runInContext(bundle, context);
  return context.module.exports;
}

for (const [name, globals] of Object.entries(RUNTIMES)) {
  test(`${name}: two clients talk and reconnect`, async (t) => {
    const server = new RelayServer({ port: 0, host: '127.0.0.1' });
    t.after(() => server.close());
    await once(server, 'listening');
    const [one, two] = [server.registerClient(), server.registerClient()];
    server.registerRelayChannel(one.id, two.id);
    const WebSocketRelay = load(globals);
    const relays = [one, two].map(({ id, token }) => new WebSocketRelay(`127.0.0.1:${server.address().port}`, { clientId: id, token }, { reconnectionDelay: 10 }));
    t.after(() => relays.forEach((relay) => relay.close()));
    for (const relay of relays) relay.on('error', (error) => assert.fail(error));
    const channel = relays[0].createChannel(two.id);
    const emitted = [];
    const allEmitted = new Promise((resolve) => relays[1].createChannel(one.id).on('message', (message) => emitted.push(message) === 3 && resolve()));
    channel.send('1');
    channel.send('2');
    await new Promise((resolve) => channel.once('drain', resolve));
    const closed = new Promise((resolve) => relays[0].once('close', resolve));
    server.disconnectClient(one.id);
    const info = await closed;
    assert.deepEqual([typeof info.code, typeof info.reason, info.willReconnect], ['number', 'string', true]);
    channel.send('3');
    await allEmitted;
    assert.deepEqual(emitted, ['1', '2', '3']);
  });
}

test('a connection that ends without a code or a reason counts as lost', async (t) => {
  const server = await startServer(t);
  const WebSocketRelay = load({});
  const relay = new WebSocketRelay(server.address, { clientId: 0, token: 'x' }, { reconnectionDelay: 1 });
  t.after(() => relay.close());
  const failed = new Promise((resolve) => relay.once('connectError', resolve));
  const closed = new Promise((resolve) => relay.once('close', resolve));
  (await server.connection()).socket.terminate();
  assert.deepEqual({ ...(await closed) }, { code: 1006, reason: '', willReconnect: true });
  assert.match((await failed).message, /^cannot connect to ws:\/\/127\.0\.0\.1:\d+$/);
});

test('sessions are unique and have 16 hex digits, with and without crypto', async (t) => {
  const sessions = [];
  class Socket {
    readyState = 1;
    constructor() {
      setImmediate(() => this.onopen({}));
    }
    send(text) {
      sessions.push(JSON.parse(text).authentication.session);
    }
    close() {
      setImmediate(() => this.onclose({ code: 1000, reason: '' }));
    }
  }
  const relays = [];
  for (const globals of [{}, { crypto: globalThis.crypto }]) {
    const WebSocketRelay = load(globals);
    for (let n = 0; n < 500; n++) relays.push(new WebSocketRelay('server', { clientId: 0, token: 'x', WebSocket: Socket }));
  }
  t.after(() => relays.forEach((relay) => relay.close()));
  while (sessions.length < relays.length) await new Promise(setImmediate);
  for (const session of sessions) assert.match(session, /^[0-9a-f]{16}$/);
  assert.equal(new Set(sessions).size, 1000);
});

test('an error thrown by a listener surfaces without queueMicrotask', async () => {
  const WebSocketRelay = load({ setTimeout: (task) => timers.push(task) });
  const timers = [];
  const relay = new WebSocketRelay('server', { clientId: 0, token: 'x', reliable: false, WebSocket: class { readyState = 1; send() {} close() {} } });
  timers.length = 0;
  relay.on('open', () => {
    throw new Error('over');
  });
  relay.emit('open', { resumed: false });
  await new Promise(setImmediate);
  assert.equal(timers.length, 1);
  assert.throws(timers[0], { message: 'over' });
});
