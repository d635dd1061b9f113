// Invalid options and arguments throw at the call, naming what is wrong.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { Duplex } from 'node:stream';
import test from 'node:test';
import express from 'express';
import RelayServer, { RelayServer as Named } from 'websocket-relay';
import { listen } from './support.mjs';

const require = createRequire(import.meta.url);

test('exports one class to require() and import', () => {
  assert.equal(RelayServer, Named);
  assert.equal(RelayServer, require('websocket-relay'));
  assert.equal(RelayServer, RelayServer.default);
});

const TYPE = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' };
const VALUE = { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' };
const RANGE = { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' };

for (const [options, expected, text] of [
  [undefined, TYPE, /^options must be an object; received undefined/],
  [null, TYPE, /received null/],
  [4000, TYPE, /received 4000/],
  ['4000', TYPE, /received '4000'/],
  [{}, TYPE, /^options\.port must be .* received undefined/],
  [{ port: null }, TYPE, /^options\.port .* received null/],
  [{ port: '80x' }, TYPE, /^options\.port .* received '80x'/],
  [{ port: '' }, TYPE, /^options\.port .* received ''/],
  [{ port: true }, TYPE, /^options\.port .* received true/],
  [{ port: NaN }, RANGE, /^options\.port .* received NaN/],
  [{ port: 1.5 }, RANGE, /^options\.port .* received 1\.5/],
  [{ port: -1 }, RANGE, /^options\.port .* received -1/],
  [{ port: 65536 }, RANGE, /^options\.port .* from 0 to 65535; received 65536/],
  [{ port: '65536' }, RANGE, /^options\.port .* received 65536/],
  [{ port: 0, host: 7 }, TYPE, /^options\.host .* received 7/],
  [{ port: 0, host: '' }, TYPE, /^options\.host .* received ''/],
  [{ port: null, server: null }, TYPE, /^options\.port must be .* unless server or noServer is given; received null/],
  [{ noServer: false }, TYPE, /^options\.port .* received undefined/],
  [{ noServer: 1 }, TYPE, /^options\.noServer must be a boolean; received 1/],
  [{ port: 0, noServer: true }, VALUE, /^exactly one of port, server and noServer .* received port and noServer/],
  [{ port: 0, server: {} }, VALUE, /received port and server/],
  [{ server: {}, noServer: true }, VALUE, /received server and noServer/],
  [{ port: 0, server: {}, noServer: true }, VALUE, /received port and server and noServer/],
  [{ server: {} }, TYPE, /^options\.server must be an http\.Server .* received \{\}/],
  [{ server: 'http' }, TYPE, /^options\.server .* received 'http'/],
  [{ server: 80 }, TYPE, /^options\.server .* received 80/],
  [{ port: 0, path: 'relay' }, TYPE, /^options\.path must be a path .* received 'relay'/],
  [{ port: 0, path: '' }, TYPE, /^options\.path .* received ''/],
  [{ port: 0, path: '/a?b' }, TYPE, /^options\.path .* received '\/a\?b'/],
  [{ port: 0, path: 5 }, TYPE, /^options\.path .* received 5/],
  [{ port: 0, serveClient: 'no' }, TYPE, /^options\.serveClient must be a boolean; received 'no'/],
  [{ port: 0, authorizeAllChannels: 'yes' }, TYPE, /^options\.authorizeAllChannels .* received 'yes'/],
  [{ port: 0, threads: '2' }, TYPE, /^options\.threads must be an integer from 1 to 64 \(threads\); received '2'/],
  [{ port: 0, threads: 0 }, RANGE, /^options\.threads .* received 0/],
  [{ port: 0, threads: 65 }, RANGE, /^options\.threads .* received 65/],
  [{ port: 0, threads: 1.5 }, RANGE, /^options\.threads .* received 1\.5/],
  [{ port: 0, maxPayload: '1' }, TYPE, /^options\.maxPayload .* received '1'/],
  [{ port: 0, maxPayload: null }, TYPE, /^options\.maxPayload .* received null/],
  [{ port: 0, maxPayload: 0 }, RANGE, /^options\.maxPayload .* received 0/],
  [{ port: 0, maxPayload: 2 ** 40 }, RANGE, /^options\.maxPayload .*\(bytes\); received 1099511627776/],
  [{ port: 0, pingInterval: Infinity }, RANGE, /^options\.pingInterval .*\(milliseconds\); received Infinity/],
  [{ port: 0, maxQueuedMessages: NaN }, RANGE, /^options\.maxQueuedMessages .*\(messages\); received NaN/],
  [{ port: 0, store: null }, TYPE, /^options\.store must be a path of a file, .* received null/],
  [{ port: 0, store: true }, TYPE, /^options\.store .* received true/],
  [{ port: 0, store: '' }, TYPE, /^options\.store .* not empty and without NUL, .* received ''/],
  [{ port: 0, store: 'a\0b' }, TYPE, /^options\.store .* received 'a\\x00b'/],
  [{ port: 0, store: {} }, TYPE, /^options\.store\.path .* received undefined/],
  [{ port: 0, store: [] }, TYPE, /^options\.store\.path .* received undefined/],
  [{ port: 0, store: { path: 7 } }, TYPE, /^options\.store\.path .* received 7/],
  [{ port: 0, store: { path: '' } }, TYPE, /^options\.store\.path .* received ''/],
  [{ port: 0, store: new URL('https://example.com/relay.db') }, TYPE, /^options\.store must be a 'file:' URL .* received 'https:/],
  [{ port: 0, store: { path: new URL('file:///a%00b') } }, TYPE, /^options\.store\.path /],
  [{ noServer: true, store: { path: 'x', durability: 'full' } }, TYPE, /^options\.store\.durability must be 'written' or 'synced'; received 'full'/],
  [{ noServer: true, store: { path: 'x', durability: null } }, TYPE, /^options\.store\.durability .* received null/],
  [{ port: 0, closeTimeout: -0.5 }, RANGE, /^options\.closeTimeout .* received -0\.5/],
]) {
  test(`new RelayServer(${JSON.stringify(options)}) throws a ${expected.name}`, () => {
    assert.throws(() => new RelayServer(options), { ...expected, message: text });
  });
}

test('rejects an Express application as a server', () => {
  assert.throws(() => new RelayServer({ server: express() }), { ...TYPE, message: /^options\.server .* \(what app\.listen\(\) returns\)/ });
});

test('accepts undefined and null for options not given', async (t) => {
  const options = [{ port: 0, server: undefined, noServer: false }, { port: null, server: http.createServer() }, { noServer: true, port: undefined, server: null }];
  for (const one of options) {
    const server = new RelayServer(one);
    t.after(() => server.close());
  }
});

test('rejects invalid arguments of handleUpgrade()', async (t) => {
  const server = new RelayServer({ noServer: true });
  t.after(() => server.close());
  const [request, socket] = [{ url: '/' }, new Duplex({ read() {} })];
  for (const odd of [undefined, null, NaN, '/', {}, { url: 5 }]) {
    assert.throws(() => server.shouldHandle(odd), { ...TYPE, message: /^request must be an http\.IncomingMessage; received / });
    assert.throws(() => server.handleUpgrade(odd, socket), { ...TYPE, message: /^request must be / });
    assert.throws(() => server.handleUpgrade(request, odd), { ...TYPE, message: /^socket must be a stream\.Duplex; received / });
    if (odd !== undefined) assert.throws(() => server.handleUpgrade(request, socket, odd), { ...TYPE, message: /^head must be a Buffer; received / });
  }
  assert.equal(socket.destroyed, false);
});

test('rejects a callback that is not a function', () => {
  assert.throws(() => new RelayServer({ port: 0 }, 'x'), { ...TYPE, message: "callback must be a function; received 'x'" });
});

test('accepts a port as a string of digits', async (t) => {
  const server = await listen(t, { port: '0' });
  assert.ok(server.address().port > 0);
});

test('warns of an unknown option', async (t) => {
  const [[warning]] = await Promise.all([once(process, 'warning'), listen(t, { authorizeAllChanels: true })]);
  assert.equal(warning.code, 'WEBSOCKET_RELAY_UNKNOWN_OPTION');
  assert.match(warning.message, /'authorizeAllChanels'/);
});

for (const place of [{ noServer: true }, { server: http.createServer() }]) {
  test(`warns of options that need a port, with ${Object.keys(place)}`, async (t) => {
    const warnings = [];
    const hear = (warning) => warnings.push(warning);
    process.on('warning', hear);
    t.after(() => process.off('warning', hear));
    const servers = [
      new RelayServer({ ...place, host: '127.0.0.1', serveClient: true, metrics: true, maxHeaderSize: 20_000 }),
      new RelayServer({ ...place, serveClient: false, metrics: false }),
      new RelayServer({ port: 0, host: '127.0.0.1', serveClient: true, metrics: true }),
    ];
    await Promise.all(servers.map((server) => server.close()));
    assert.deepEqual(warnings.map(({ code }) => code), Array(4).fill('WEBSOCKET_RELAY_UNUSED_OPTION'));
    assert.deepEqual(warnings.map(({ message }) => /option (\w+) /.exec(message)[1]), ['host', 'serveClient', 'metrics', 'maxHeaderSize']);
  });
}

test('rejects channels of unknown clients and existing channels', async (t) => {
  const server = await listen(t);
  const [first, second] = [server.registerClient(), server.registerClient()];
  assert.deepEqual([first.id, second.id], [0, 1]);
  for (const { token } of [first, second]) assert.match(token, /^[0-9a-f]{32}$/);
  assert.notEqual(first.token, second.token);
  const notFound = (which, Kind) => (error) =>
    error instanceof Kind &&
    error.name === 'ClientNotFoundException' &&
    error.code === 'ERR_CLIENT_NOT_FOUND' &&
    error.message.startsWith(`${which} must be the id of an existing client`);
  for (const [bad, Kind] of [
    [2, Error],
    [Number.MAX_SAFE_INTEGER, Error],
    ['0', TypeError],
    [undefined, TypeError],
    [null, TypeError],
    [first, TypeError],
    [NaN, RangeError],
    [-1, RangeError],
    [0.5, RangeError],
    [2 ** 53, RangeError],
  ]) {
    assert.throws(() => server.registerRelayChannel(bad, 1), notFound('clientId1', Kind));
    assert.throws(() => server.registerRelayChannel(0, bad), notFound('clientId2', Kind));
  }
  const exists = { name: 'ClientsAlreadyHaveChannel', message: 'these clients already have a channel', code: 'ERR_CHANNEL_EXISTS' };
  server.registerRelayChannel(0, 1);
  assert.throws(() => server.registerRelayChannel(0, 1), exists);
  assert.throws(() => server.registerRelayChannel(1, 0), exists);
  server.registerRelayChannel(0, 0);
  assert.throws(() => server.registerRelayChannel(0, 0), exists);
});

test('documents the defaults of the engine', () => {
  const { limits } = require('../../native.js');
  const page = readFileSync(new URL('../../docs/limits.md', import.meta.url), 'utf8');
  const types = readFileSync(new URL('../../index.d.ts', import.meta.url), 'utf8');
  for (const limit of limits()) {
    const shown = limit.default.toLocaleString('en-US');
    assert.match(page, new RegExp(`^\\| \`${limit.name}\` \\| ${shown} \\|`, 'm'), `docs/limits.md: ${limit.name}`);
    assert.match(types, new RegExp(`Default: ${shown}\\b[^\\n]*\\n    ${limit.name}\\?`), `index.d.ts: ${limit.name}`);
  }
});
