import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import WebSocketRelay from 'websocket-relay/client';

const file = fileURLToPath(new URL('../../examples/sigterm.mjs', import.meta.url));

test('clients are told to reconnect, and the process exits', { skip: process.platform === 'win32' && 'Windows has no signals' }, async (t) => {
  const server = spawn(process.execPath, [file], { env: { ...process.env, PORT: '0' } });
  t.after(() => server.kill('SIGKILL'));
  const ended = once(server, 'close');
  const lines = createInterface(server.stdout)[Symbol.asyncIterator]();
  const { port, id, token } = JSON.parse((await lines.next()).value);
  const relay = new WebSocketRelay(`localhost:${port}`, { clientId: id, token });
  t.after(() => relay.close());
  await new Promise((resolve) => relay.once('open', resolve));
  const closed = new Promise((resolve) => relay.once('close', resolve));
  server.kill('SIGTERM');
  const { code, willReconnect } = await closed;
  assert.deepEqual({ code, willReconnect }, { code: 1012, willReconnect: true });
  assert.equal((await lines.next()).value, 'Goodbye.');
  assert.deepEqual(await ended, [0, null]);
});
