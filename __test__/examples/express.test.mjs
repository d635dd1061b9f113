import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import WebSocketRelay from 'websocket-relay/client';

const file = fileURLToPath(new URL('../../examples/express/server.mjs', import.meta.url));

test('serves the page, the client and the relay on one port', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'example-'));
  const env = { ...process.env, PORT: '0', STORE: join(folder, 'relay.db') };
  const child = spawn(process.execPath, [file], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(async () => {
    child.kill('SIGKILL');
    await rm(folder, { recursive: true, maxRetries: 5 });
  });
  const [line] = await once(createInterface(child.stdout), 'line');
  const [address] = /http:\/\/localhost:\d+\//.exec(line);
  const get = async (path, options) => (await fetch(address + path, options)).text();
  assert.match(await get(''), /<script src="websocket_relay\.min\.js">/);
  assert.match(await get('websocket_relay.min.js'), /WebSocketRelay/);
  const seat = async () => JSON.parse(await get('seat', { method: 'POST' }));
  const seats = [await seat(), await seat(), await seat()];
  assert.deepEqual(seats.map(({ otherId }) => otherId), [seats[1].id, seats[0].id, seats[2].id + 1]);
  const relays = seats.map(({ id, token }) => new WebSocketRelay(`${address}relay`, { clientId: id, token }));
  const channels = seats.map(({ otherId }, n) => relays[n].createChannel(otherId));
  const heard = channels.slice(0, 2).map((channel) => new Promise((resolve) => channel.on('message', resolve)));
  channels[0].send('from the first');
  channels[1].send('from the second');
  assert.deepEqual(await Promise.all(heard), ['from the second', 'from the first']);
  relays.forEach((relay) => relay.close());
  if (process.platform === 'win32') return;
  child.kill('SIGTERM');
  assert.deepEqual(await once(child, 'exit'), [0, null]);
});
