// Responses of the relay's own port to requests that open no WebSocket.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import test from 'node:test';
import { runInNewContext } from 'node:vm';
import { gunzipSync } from 'node:zlib';
import { Connection, attach, listen, statusOf } from './support.mjs';

const bundle = readFileSync(new URL('../../dist/websocket_relay.min.js', import.meta.url));
const sourceMap = readFileSync(new URL('../../dist/websocket_relay.min.js.map', import.meta.url));

/** Resolves to the response, not decompressed. */
async function get(server, path, { method = 'GET', ...headers } = {}) {
  const { port } = server.address();
  const response = await new Promise((resolve, reject) => {
    http.request({ host: '127.0.0.1', port, path, method, headers }, resolve).on('error', reject).end();
  });
  const chunks = await response.toArray();
  return { status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks) };
}

test('serves the browser client, compressed if accepted, and 304 if unchanged', async (t) => {
  const server = await listen(t);
  const plain = await get(server, '/websocket_relay.min.js');
  assert.equal(plain.status, 200);
  assert.equal(plain.headers['content-type'], 'text/javascript; charset=utf-8');
  assert.ok(plain.body.equals(bundle));
  const context = { WebSocket: class {} };
  runInNewContext(String(plain.body), context);
  assert.equal(typeof context.WebSocketRelay, 'function');
  const packed = await get(server, '/websocket_relay.min.js', { 'accept-encoding': 'gzip, deflate, br' });
  assert.equal(packed.headers['content-encoding'], 'gzip');
  assert.equal(packed.headers.etag, plain.headers.etag);
  assert.ok(packed.body.length < plain.body.length / 2 && gunzipSync(packed.body).equals(bundle));
  const known = await get(server, '/websocket_relay.min.js?v=2', { 'if-none-match': plain.headers.etag });
  assert.deepEqual([known.status, known.body.length], [304, 0]);
  const head = await get(server, '/websocket_relay.min.js', { method: 'HEAD' });
  assert.deepEqual([head.status, head.headers['content-length'], head.body.length], [200, String(bundle.length), 0]);
});

test('does not serve the client with serveClient: false', async (t) => {
  const server = await listen(t, { serveClient: false, path: '/relay' });
  for (const method of ['GET', 'HEAD', 'OPTIONS']) {
    for (const path of ['/websocket_relay.min.js', '/websocket_relay.min.js.map']) assert.equal((await get(server, path, { method })).status, 404);
  }
});

test('serves the source map where the client refers to it', async (t) => {
  const server = await listen(t, { path: '/relay' });
  const [, name] = /\n\/\/# sourceMappingURL=(\S+)\n$/.exec(String(bundle));
  const plain = await get(server, `/${name}`);
  assert.deepEqual([plain.status, plain.headers['content-type']], [200, 'application/json']);
  assert.ok(plain.body.equals(sourceMap));
  const packed = await get(server, `/${name}`, { 'accept-encoding': 'gzip' });
  assert.ok(gunzipSync(packed.body).equals(sourceMap));
});

test('allows every origin to load the client, with preflight', async (t) => {
  for (const path of ['/relay', undefined]) {
    const server = await listen(t, { path });
    for (const file of ['/websocket_relay.min.js', '/websocket_relay.min.js.map']) {
      const { headers: { etag } } = await get(server, file);
      for (const [status, more] of [
        [200, {}],
        [200, { method: 'HEAD' }],
        [200, { 'accept-encoding': 'gzip' }],
        [304, { 'if-none-match': ['"x"', etag] }],
        [204, { method: 'OPTIONS', origin: 'https://example.com', 'access-control-request-method': 'GET' }],
      ]) {
        const answer = await get(server, file, more);
        assert.equal(answer.status, status, `${file} ${JSON.stringify(more)}`);
        assert.equal(answer.headers['access-control-allow-origin'], '*');
        assert.equal(answer.headers['cross-origin-resource-policy'], 'cross-origin');
      }
    }
    // Other paths have no CORS headers.
    assert.equal((await get(server, '/health')).headers['access-control-allow-origin'], undefined);
  }
});

test('rejects a head above maxHeaderSize with 431, and counts it', async (t) => {
  for (const maxHeaderSize of [undefined, 1024, 65_536]) {
    const server = await listen(t, { maxHeaderSize, path: '/relay' });
    const bound = maxHeaderSize ?? 16_384;
    assert.equal((await get(server, '/health', { cookie: 'c'.repeat(bound - 500) })).status, 200);
    assert.deepEqual(server.stats().turnedAway, {});
    assert.equal((await get(server, '/health', { cookie: 'c'.repeat(bound) })).status, 431);
    const url = `ws://127.0.0.1:${server.address().port}/relay`;
    assert.equal(await statusOf({ url }, { headers: { cookie: 'c'.repeat(bound) } }), 431);
    assert.deepEqual(server.stats().turnedAway, { maxHeaderSize: 2 });
    assert.equal(await statusOf({ url }, { headers: { cookie: 'c'.repeat(bound - 500) } }), 101);
  }
});

test('answers /health, and 404 elsewhere', async (t) => {
  const server = await listen(t, { path: '/relay', closeTimeout: 600_000 });
  const health = await get(server, '/health');
  assert.deepEqual([health.status, String(health.body), health.headers['cache-control']], [200, 'ok\n', 'no-store']);
  assert.equal((await get(server, '/')).status, 404);
  assert.equal((await get(server, '/health', { method: 'POST' })).status, 404);
  assert.equal((await get(server, '/relay')).status, 426);
  // While it closes, held up by a connection that does not answer.
  const { port } = server.address();
  const connection = await Connection.open({ url: `ws://127.0.0.1:${port}/relay` });
  connection.socket._socket.removeAllListeners('data');
  connection.socket._socket.pause();
  const closed = server.close();
  const last = await get({ address: () => ({ port }) }, '/health');
  assert.deepEqual([last.status, String(last.body)], [503, 'the server is closing\n']);
  connection.socket.terminate();
  await closed;
  await assert.rejects(get({ address: () => ({ port }) }, '/health'), { code: 'ECONNREFUSED' });
});

test('leaves all of this to the application on an attached server', async (t) => {
  const server = await attach(t, http.createServer((request, response) => response.end(`the application: ${request.url}`)));
  for (const path of ['/health', '/websocket_relay.min.js', '/relay', '/']) {
    assert.equal(String((await get(server, path)).body), `the application: ${path}`);
  }
});
