// What the port answers to requests that are no WebSocket.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import test from 'node:test';
import { runInNewContext } from 'node:vm';
import { gunzipSync } from 'node:zlib';
import { Connection, attach, listen } from './support.mjs';

const bundle = readFileSync(new URL('../../dist/websocket_relay.min.js', import.meta.url));

/** The answer as it came, nothing unpacked. */
async function get(server, path, { method = 'GET', ...headers } = {}) {
  const { port } = server.address();
  const response = await new Promise((resolve, reject) => {
    http.request({ host: '127.0.0.1', port, path, method, headers }, resolve).on('error', reject).end();
  });
  const chunks = await response.toArray();
  return { status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks) };
}

test('the port gives the client for browsers, packed for who takes that, and not again to who has it', async (t) => {
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

test('unless it is told not to', async (t) => {
  const server = await listen(t, { serveClient: false, path: '/relay' });
  assert.equal((await get(server, '/websocket_relay.min.js')).status, 404);
});

test('it says how it is, and what is nowhere', async (t) => {
  const server = await listen(t, { path: '/relay', closeTimeout: 600_000 });
  const health = await get(server, '/health');
  assert.deepEqual([health.status, String(health.body), health.headers['cache-control']], [200, 'ok\n', 'no-store']);
  assert.equal((await get(server, '/')).status, 404);
  assert.equal((await get(server, '/health', { method: 'POST' })).status, 404);
  assert.equal((await get(server, '/relay')).status, 426);
  // While it closes: a connection that does not answer holds it.
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

test('on a server of somebody else all of this is theirs', async (t) => {
  const server = await attach(t, http.createServer((request, response) => response.end(`the application: ${request.url}`)));
  for (const path of ['/health', '/websocket_relay.min.js', '/relay', '/']) {
    assert.equal(String((await get(server, path)).body), `the application: ${path}`);
  }
});
