// Texts from the server are escaped wherever the client passes them on.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import WebSocketRelay from 'websocket-relay/client';
import { importSource, startServer } from './server.mjs';

const { printable } = await importSource('printable');
const { texts } = JSON.parse(readFileSync(new URL('../vectors/printable.json', import.meta.url), 'utf8'));
const EVIL = 'x\n\u001b[2J\u0085\u2028\u202e';
const SHOWN = 'x\\n\\x1b[2J\\x85\\u2028\\u202e';

test('escapes texts as in the vectors', () => {
  for (const { text, shown } of texts) assert.equal(printable(text), shown);
  assert.equal(printable('\ud800x\udc00'), '\\ud800x\\udc00');
  assert.equal(printable(undefined), '');
});

test('escapes close reasons and the errors made of them', async (t) => {
  const server = await startServer(t);
  const relay = new WebSocketRelay(server.address, { clientId: 0, token: 'x' });
  const errors = [];
  relay.on('error', (error) => errors.push(error));
  const closed = new Promise((resolve) => relay.on('close', resolve));
  (await server.connection()).socket.close(4502, EVIL);
  assert.deepEqual(await closed, { code: 4502, reason: SHOWN, willReconnect: false });
  assert.deepEqual(errors.map(({ code, message }) => [code, message]), [['ERR_UNREGISTERED', SHOWN]]);
});

test('escapes errors from the server, also in the console', async (t) => {
  const server = await startServer(t);
  const relay = new WebSocketRelay(server.address, { clientId: 0, token: 'x' });
  t.after(() => relay.close());
  const printed = t.mock.method(console, 'error', () => {});
  const { socket } = await server.connection();
  const limits = { epoch: '0'.repeat(8), resumed: false, pingInterval: 10_000, pingTimeout: 10_000, maxPayload: 1000 };
  socket.send(JSON.stringify({ authenticated: { clientId: 0, ...limits } }));
  await once(relay, 'open');
  // JSON can carry a lone surrogate.
  socket.send(JSON.stringify({ error: { code: `ERR_${EVIL}`, message: `${EVIL}\ud800` } }));
  const refused = new Promise((resolve) => relay.createChannel(1).send('x', resolve));
  socket.send(JSON.stringify({ rejected: { targetId: 1, seq: 1, code: 'ERR_X', message: EVIL, last: 0, notice: 0 } }));
  const { code, message } = await refused;
  assert.deepEqual([code, message], ['ERR_X', SHOWN]);
  const errors = printed.mock.calls.map(({ arguments: [error] }) => [error.code, error.message]);
  assert.deepEqual(errors, [[`ERR_${SHOWN}`, `${SHOWN}\\ud800`], ['ERR_X', SHOWN]]);
});
