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

const file = fileURLToPath(new URL('../../examples/sigterm.mjs', import.meta.url));
const skip = process.platform === 'win32' && 'Windows has no signals';

/** The example, to be started again on the same port and store. */
async function newServer(t) {
  const folder = await mkdtemp(join(tmpdir(), 'example-'));
  const env = { ...process.env, PORT: '0', STORE: join(folder, 'relay.db') };
  let child, lines;
  t.after(async () => {
    child.kill('SIGKILL');
    await rm(folder, { recursive: true, maxRetries: 5 });
  });
  const nextLine = async () => (await lines.next()).value;
  return {
    env,
    nextLine,
    /** Resolves to what the server prints about itself. */
    async start() {
      child = spawn(process.execPath, [file], { env, stdio: ['ignore', 'pipe', 'inherit'] });
      lines = createInterface(child.stdout)[Symbol.asyncIterator]();
      assert.equal(await nextLine(), `A restart loses nothing: clients and messages are kept in ${env.STORE}. Delete it to start afresh.`);
      const status = JSON.parse(await nextLine());
      env.PORT = String(status.port);
      return status;
    },
    async end(signal) {
      const exited = once(child, 'exit');
      child.kill(signal);
      return exited;
    },
  };
}

function connect(t, port, { id, token }) {
  const relay = new WebSocketRelay(`localhost:${port}`, { clientId: id, token, reconnectionDelayMax: 200 });
  t.after(() => relay.close());
  return relay;
}

const event = (emitter, name) => new Promise((resolve) => emitter.once(name, resolve));
const send = (channel, text) => new Promise((resolve, reject) => channel.send(text, (error) => (error ? reject(error) : resolve())));

test('clients are told to reconnect, and the process exits', { skip }, async (t) => {
  const server = await newServer(t);
  const { port, clients } = await server.start();
  const relay = connect(t, port, clients[0]);
  await event(relay, 'open');
  const closed = event(relay, 'close');
  const ended = server.end('SIGTERM');
  const { code, willReconnect } = await closed;
  assert.deepEqual({ code, willReconnect }, { code: 1012, willReconnect: true });
  assert.equal(await server.nextLine(), 'Goodbye.');
  assert.deepEqual(await ended, [0, null]);
});

for (const signal of ['SIGTERM', 'SIGKILL']) {
  test(`what was sent before ${signal}, and while the server was away, arrives exactly once`, { skip }, async (t) => {
    const server = await newServer(t);
    const { port, clients } = await server.start();
    const sender = connect(t, port, clients[0]);
    await event(sender, 'open');
    const channel = sender.createChannel(clients[1].id);
    await send(channel, 'before');
    const closed = event(sender, 'close');
    const reopened = closed.then(() => event(sender, 'open'));
    await server.end(signal);
    await closed;
    const sent = send(channel, 'meanwhile');

    const again = await server.start();
    const [, away] = again.clients;
    assert.deepEqual([again.clients.map(({ id }) => id), 'token' in away], [clients.map(({ id }) => id), false]);
    assert.deepEqual(await reopened, { resumed: true });
    await sent;
    const recipient = connect(t, port, clients[1]);
    const received = [];
    const isOver = new Promise((resolve) => {
      recipient.createChannel(clients[0].id).on('message', (text) => {
        received.push(text);
        if (text === 'over') resolve();
      });
    });
    await send(channel, 'over');
    await isOver;
    assert.deepEqual(received, ['before', 'meanwhile', 'over']);
  });
}

test('lists the clients with waiting messages after a restart', { skip }, async (t) => {
  const server = await newServer(t);
  const { port, clients } = await server.start();
  const sender = connect(t, port, clients[0]);
  await send(sender.createChannel(clients[1].id), 'for later');
  sender.close();
  await server.end('SIGKILL');
  assert.deepEqual((await server.start()).clients, [{ id: clients[0].id, queuedMessages: 0 }, { id: clients[1].id, queuedMessages: 1 }]);
});
