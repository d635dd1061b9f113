// The client as it ships: its size, its internal names, and that every way to load it gives the same classes.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import vm from 'node:vm';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import ts from 'typescript';
import WebSocket from 'ws';
import WebSocketRelay, * as client from 'websocket-relay/client';
import { startServer } from './server.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const require = createRequire(import.meta.url);
const read = (name) => readFileSync(join(root, 'dist', name));

// The size in bytes with gzip, rounded up to the next 64.
const BUDGET = 5760;

test(`the browser script takes at most ${BUDGET} bytes with gzip`, () => {
  // As `gzip -9c` counts it, which stores the name of the file.
  const bytes = gzipSync(read('websocket_relay.min.js'), { level: 9 }).length + 'websocket_relay.min.js'.length + 1;
  assert.ok(bytes <= BUDGET, `${bytes} bytes`);
});

test('the browser script refers to its source map', () => {
  assert.match(String(read('websocket_relay.min.js')), /\/\/# sourceMappingURL=websocket_relay\.min\.js\.map\n$/);
  assert.ok(JSON.parse(read('websocket_relay.min.js.map')).sources.some((source) => source.endsWith('client/relay.ts')));
});

/** The modules of client/ by file name, parsed. */
const modules = new Map(
  readdirSync(join(root, 'client'))
    .filter((name) => name.endsWith('.ts'))
    .map((name) => [name, ts.createSourceFile(name, readFileSync(join(root, 'client', name), 'utf8'), ts.ScriptTarget.Latest)]),
);

test('no modules of the client import each other in a circle', () => {
  const importsOf = (name) => modules.get(name).statements.flatMap(({ moduleSpecifier }) => moduleSpecifier?.text.replace(/^\.\/(.*)\.js$/, '$1.ts') ?? []);
  const done = new Set();
  const visit = (name, path) => {
    assert.ok(!path.includes(name), `${[...path, name].join(' → ')}`);
    if (!done.has(name)) for (const imported of importsOf(name)) visit(imported, [...path, name]);
    done.add(name);
  };
  for (const name of modules.keys()) visit(name, []);
  assert.ok(done.size > 20);
});

test('every member of an internal class or type is private or ends with `_`, and no other member does', () => {
  // The public API, the frames of the wire protocol, and what the client uses of a page and of its options.
  const PUBLIC = ['Emitter', 'WebSocketRelay', 'RelayChannel', 'OpenInfo', 'CloseInfo', 'RelayEvents', 'ChannelEvents', 'RelayOptions', 'Authentication', 'RelayError', 'WebSocketLike', 'Resumption', 'ServerFrame', 'Outgoing', 'Page', 'Backoff'];
  const seen = [];
  for (const [file, { statements }] of modules) {
    for (const statement of statements) {
      if (!ts.isClassDeclaration(statement) && !ts.isInterfaceDeclaration(statement)) continue;
      const name = statement.name.text;
      seen.push(name);
      for (const member of statement.members) {
        const text = member.name?.text;
        // Constructors have no name, and private members get short ones anyway.
        if (text === undefined || ts.isPrivateIdentifier(member.name)) continue;
        assert.equal(text.endsWith('_'), !PUBLIC.includes(name), `${file}: ${name}.${text}`);
      }
    }
  }
  assert.deepEqual(PUBLIC.filter((name) => !seen.includes(name)), []);
});

test('minifying shortens the names of internal members and of no others', async () => {
  const members = (script) => {
    const page = vm.createContext({ crypto });
    vm.runInContext(`${read(script)}\nvar classes = [WebSocketRelay, Object.getPrototypeOf(WebSocketRelay)];`, page);
    class Socket {}
    const relay = new page.WebSocketRelay('server', { clientId: 0, token: 'x', reliable: false, WebSocket: Socket });
    const objects = [...page.classes, ...page.classes.map(({ prototype }) => prototype), Object.getPrototypeOf(relay.createChannel(1)), relay, relay.createChannel(1)];
    return objects.map((object) => Reflect.ownKeys(object).toSorted());
  };
  assert.deepEqual(members('websocket_relay.min.js'), members('websocket_relay.js'));
  const internal = (script) => String(read(script)).match(/[.{, ]\w+[a-zA-Z]_(?=\W)/g);
  assert.ok(internal('websocket_relay.js').length > 100);
  assert.equal(internal('websocket_relay.min.js'), null);
});

for (const name of ['websocket_relay.js', 'websocket_relay.min.js']) {
  test(`${name} sets one global and connects to a server`, async (t) => {
    const server = await startServer(t);
    const page = vm.createContext({ WebSocket, queueMicrotask, setTimeout, clearTimeout, crypto, location: { protocol: 'http:' }, address: server.address });
    const before = Object.keys(page);
    vm.runInContext(String(read(name)), page);
    assert.deepEqual(Object.keys(page).filter((key) => !before.includes(key)), ['WebSocketRelay']);
    const received = new Promise((resolve) => (page.received = resolve));
    vm.runInContext(
      `var relay = new WebSocketRelay(address, { clientId: 0, token: 'x' }, { reliable: false });
       var channel = relay.createChannel(1);
       channel.send('hello world');
       channel.on('message', received);`,
      page,
    );
    const peer = await server.connection();
    assert.equal(await peer.frame(), '{"authentication":{"clientId":0,"token":"x"}}');
    assert.equal(await peer.frame(), '{"relay":{"targetId":1,"message":"hello world"}}');
    peer.relay(1, 'hello back');
    assert.equal(await received, 'hello back');
    page.relay.close();
    await peer.closed;
  });
}

test('import and require return the same class under every name', () => {
  const required = require('websocket-relay/client');
  assert.equal(required, WebSocketRelay);
  assert.equal(required.default, WebSocketRelay);
  assert.equal(required.WebSocketRelay, WebSocketRelay);
  assert.equal(client.WebSocketRelay, WebSocketRelay);
  assert.equal(client.RelayChannel, required.RelayChannel);
  assert.deepEqual(Object.keys(client).toSorted(), ['RelayChannel', 'WebSocketRelay', 'default']);
  assert.equal(WebSocketRelay.name, 'WebSocketRelay');
});

for (const [how, contents] of [
  ['imported', "import Relay, { WebSocketRelay, RelayChannel } from 'websocket-relay/client'; globalThis.names = { Relay, WebSocketRelay, RelayChannel }"],
  ['required', "const Relay = require('websocket-relay/client'); const { WebSocketRelay, RelayChannel } = Relay; globalThis.names = { Relay, WebSocketRelay, RelayChannel }"],
]) {
  test(`bundles for browsers, ${how}, without anything of Node`, async () => {
    const { outputFiles, warnings } = await build({
      stdin: { contents, resolveDir: root },
      bundle: true,
      platform: 'browser',
      write: false,
      logLevel: 'silent',
    });
    assert.deepEqual(warnings, []);
    assert.doesNotMatch(outputFiles[0].text, /require\(['"](ws|node:)/);
    const page = vm.createContext({});
    vm.runInContext(outputFiles[0].text, page);
    assert.equal(typeof page.names.Relay, 'function');
    assert.equal(page.names.Relay, page.names.WebSocketRelay);
    assert.equal(typeof page.names.RelayChannel, 'function');
  });
}

test('explains what to do if there is no WebSocket', async (t) => {
  // A folder from which the package `ws` cannot be resolved.
  const folder = mkdtempSync(join(tmpdir(), 'websocket-relay-'));
  t.after(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, 'client.cjs'), read('client.cjs'));
  const { WebSocketRelay: Alone } = require(join(folder, 'client.cjs'));
  const native = globalThis.WebSocket;
  t.after(() => (globalThis.WebSocket = native));
  globalThis.WebSocket = undefined;
  const authentication = { clientId: 0, token: 'x', reliable: false };
  assert.throws(() => new Alone('localhost:1', authentication), { code: 'ERR_NO_WEBSOCKET', message: /npm install ws/ });
  // With a class of its own the application needs neither.
  class Own {}
  new Alone('localhost:1', { ...authentication, WebSocket: Own });
  globalThis.WebSocket = Own;
  new Alone('localhost:1', authentication);
});

test('the types are right for import and require, and wrong uses do not compile', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'websocket-relay-types-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const files = ['client.test-d.ts', 'client-import.test-d.mts', 'client-require.test-d.cts'].map((name) => join(root, '__test__/types', name));
  const strict = { strict: true, exactOptionalPropertyTypes: true, skipLibCheck: false, noEmit: true, target: 'es2022', types: [] };
  const kinds = {
    node16: { module: 'node16', lib: ['es2022'] },
    bundler: { module: 'preserve', moduleResolution: 'bundler', lib: ['es2022', 'dom'] },
  };
  await Promise.all(
    Object.entries(kinds).map(async ([kind, options]) => {
      const project = join(folder, `${kind}.json`);
      writeFileSync(project, JSON.stringify({ compilerOptions: { ...strict, ...options }, files }));
      const tsc = require.resolve('typescript/bin/tsc');
      await promisify(execFile)(process.execPath, [tsc, '--project', project]).catch(({ stdout }) => assert.fail(`${kind}:\n${stdout}`));
    }),
  );
});
