// Values from another realm, as in Jest's jsdom, are accepted, and what the package returns belongs to the realm that loaded
// it.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import vm from 'node:vm';
import RelayServer from 'websocket-relay';
import { makeCertificate } from '../tls/certificates.mjs';
import { Connection, attach, keepsSockets, pair, statusOf } from './support.mjs';

const INDEX = fileURLToPath(new URL('../../index.js', import.meta.url));

/** A realm with only the language and, as in a page, timers, a URL and an AbortController of its own. */
function makeRealm() {
  const realm = vm.createContext({});
  vm.runInContext(
    `
    globalThis.setTimeout = () => 1;
    globalThis.clearTimeout = () => {};
    globalThis.URL = class URL {};
    globalThis.Buffer = globalThis.process = globalThis.setImmediate = undefined;
    globalThis.AbortSignal = class AbortSignal {
      #listeners = [];
      aborted = false;
      addEventListener(name, listener) { this.#listeners.push(listener); }
      removeEventListener() {}
      abort() { this.aborted = true; this.#listeners.forEach((listener) => listener()); }
    };`,
    realm,
  );
  return realm;
}

/** Loads a CommonJS module of the package in a realm, as Jest does. Node's modules and the addon stay in theirs. */
function loadIn(realm, file, loaded = new Map()) {
  if (loaded.has(file)) return loaded.get(file).exports;
  const module = { exports: {} };
  loaded.set(file, module);
  const outer = createRequire(file);
  const inner = (name) => {
    const found = outer.resolve(name);
    return found.endsWith('.js') && found.startsWith(dirname(INDEX)) ? loadIn(realm, found, loaded) : outer(name);
  };
  const parameters = ['module', 'exports', 'require', '__filename', '__dirname'];
  const run = vm.compileFunction(readFileSync(file, 'utf8'), parameters, { filename: file, parsingContext: realm });
  run(module, module.exports, inner, file, dirname(file));
  return module.exports;
}

for (const [way, make] of Object.entries({ 'taken over': (web) => web, 'kept by Node': keepsSockets })) {
  test(`${way}: accepts values of another realm`, async (t) => {
    const realm = makeRealm();
    const given = vm.runInContext(
      `({
        allowedOrigins: [/^https:\\/\\/[a-z]+\\.example$/, 'https://example.com'],
        verifyClient: async ({ req }) => req.url === '/relay',
        trustProxy: ['loopback'],
        signal: new AbortSignal(),
      })`,
      realm,
    );
    const relay = await attach(t, make(http.createServer()), given);
    assert.equal(await statusOf(relay, { origin: 'https://friend.example' }), 101);
    assert.equal(await statusOf(relay, { origin: 'https://example.com' }), 101);
    assert.equal(await statusOf(relay, { origin: 'https://stranger.test' }), 403);
    const ids = [relay.registerClient().id, relay.registerClient().id];
    assert.equal(relay.registerRelayChannels(vm.runInContext(`new Set([${ids}])`, realm)), 1);
    const closed = once(relay, 'close');
    given.signal.abort();
    await closed;
  });

  test(`${way}: loads in another realm`, async (t) => {
    const realm = makeRealm();
    const Foreign = loadIn(realm, INDEX);
    const relay = new Foreign({ noServer: true, verifyClient: async () => true, allowedOrigins: undefined });
    const web = make(http.createServer()).on('upgrade', (request, socket, head) => {
      const view = vm.runInContext('(bytes) => Uint8Array.from(bytes)', realm)([...head]);
      relay.handleUpgrade(request, socket, view);
    });
    t.after(() => web.close());
    t.after(() => relay.close());
    await once(web.listen(0, '127.0.0.1'), 'listening');
    const place = { url: `ws://127.0.0.1:${web.address().port}` };
    const clients = pair(relay);
    const [one, two] = [await Connection.open(place, clients[0]), await Connection.open(place, clients[1])];
    one.relay(clients[1].id, 'hello');
    assert.equal((await two.relayed()).message, 'hello');
    one.socket.terminate();
    two.socket.terminate();
  });
}

test('returns and throws objects of the realm that loaded it', async (t) => {
  const realm = makeRealm();
  const Foreign = loadIn(realm, INDEX);
  const [ForeignObject, ForeignError, ForeignTypeError] = vm.runInContext('[Object, Error, TypeError]', realm);
  const relay = new Foreign({ noServer: true });
  t.after(() => relay.close());
  const values = [relay.registerClient(), relay.stats(), relay.stats().turnedAway, [...relay.clients()][0]];
  for (const value of values) assert.equal(Object.getPrototypeOf(value), ForeignObject.prototype);
  assert.throws(
    () => relay.unregisterClient(7),
    (error) => error instanceof ForeignError && error.code === 'ERR_CLIENT_NOT_FOUND' && error.name === 'ClientNotFoundException',
  );
  assert.throws(() => relay.registerRelayChannel(0, 7), ForeignError);
  assert.throws(() => relay.setSecureContext({ cert: 'none', key: 'none' }), ForeignError);
  assert.throws(() => new Foreign({ port: 0, cert: 'none', key: 'none' }), ForeignError);
  assert.throws(() => new Foreign({ port: '' }), ForeignTypeError);
});

test('accepts a certificate as bytes of another realm', async (t) => {
  const realm = makeRealm();
  const { cert, key } = makeCertificate();
  const bytes = vm.runInContext('(list) => Uint8Array.from(list)', realm);
  const buffer = (text) => bytes([...Buffer.from(text)]).buffer;
  const relay = new RelayServer({ port: 0, host: '127.0.0.1', cert: bytes([...Buffer.from(cert)]), key: buffer(key) });
  t.after(() => relay.close());
  await once(relay, 'listening');
  assert.equal(await statusOf({ url: `wss://127.0.0.1:${relay.address().port}`, ca: cert }), 101);
});

test('still rejects invalid values', () => {
  for (const signal of [{}, { aborted: false }, 'signal', null, new EventTarget()]) {
    assert.throws(() => new RelayServer({ noServer: true, signal }), { code: 'ERR_INVALID_ARG_TYPE' });
  }
  for (const allowedOrigins of [{ source: 'x' }, { test: () => true }]) {
    assert.throws(() => new RelayServer({ noServer: true, allowedOrigins }), { code: 'ERR_INVALID_ARG_TYPE' });
  }
  const relay = new RelayServer({ noServer: true });
  for (const head of ['', [], {}, new DataView(new ArrayBuffer(1))]) {
    const socket = { on() {}, destroy() {} };
    assert.throws(() => relay.handleUpgrade({ url: '/' }, socket, head), { code: 'ERR_INVALID_ARG_TYPE' });
  }
  relay.close();
});
