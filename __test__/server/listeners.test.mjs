// An event needs a listener when it is delivered: one added in the same turn receives it.
import assert from 'node:assert/strict';
import { on, once } from 'node:events';
import test from 'node:test';
import { Worker } from 'node:worker_threads';
import { listen, pair } from './support.mjs';

/** Ways to listen. Each adds a listener at once and returns a promise of the event's arguments. */
const WAYS = {
  on: (server, name) => new Promise((resolve) => server.on(name, (...args) => resolve(args))),
  addListener: (server, name) => new Promise((resolve) => server.addListener(name, (...args) => resolve(args))),
  once: (server, name) => new Promise((resolve) => server.once(name, (...args) => resolve(args))),
  prependListener: (server, name) => new Promise((resolve) => server.prependListener(name, (...args) => resolve(args))),
  prependOnceListener: (server, name) => new Promise((resolve) => server.prependOnceListener(name, (...args) => resolve(args))),
  'events.once': (server, name) => once(server, name).catch((error) => [error]),
  async 'events.on'(server, name) {
    const iterator = on(server, name);
    // `once()` rejects on 'error'.
    const { value } = await iterator.next().catch((error) => ({ value: [error] }));
    await iterator.return();
    return value;
  },
};

/** Polls within one turn, while other threads go on. */
function spinUntil(is) {
  const deadline = performance.now() + 30_000;
  while (!is()) assert.ok(performance.now() < deadline, 'it should have happened by now');
}

/** A client on its own thread, which runs while this one does not return to its event loop. */
class FarClient {
  static async start(test) {
    const far = new FarClient(test);
    await once(far.worker, 'online');
    return far;
  }

  constructor(test) {
    this.worker = new Worker(
      `const { parentPort } = require('node:worker_threads');
      const WebSocket = require('ws');
      let socket;
      parentPort.on('message', ({ url, frames = [], close }) => {
        const act = () => {
          for (const frame of frames) socket.send(frame);
          if (close) socket.close(...close);
        };
        if (url) socket = new WebSocket(url);
        if (socket.readyState === WebSocket.CONNECTING) socket.on('open', act);
        else act();
      });`,
      { eval: true },
    );
    test.after(() => this.worker.terminate());
  }

  connect(server, { id, token }) {
    const url = `ws://127.0.0.1:${server.address().port}`;
    this.worker.postMessage({ url, frames: [JSON.stringify({ authentication: { clientId: id, token } })] });
  }

  send(...frames) {
    this.worker.postMessage({ frames: frames.map((frame) => (typeof frame === 'string' ? frame : JSON.stringify(frame))) });
  }

  close(...close) {
    this.worker.postMessage({ close });
  }
}

const OPTIONS = { messageTtl: 1, maxOffences: 100_000 };

/** Causes each event within the turn, and returns its first argument. */
const EVENTS = {
  connection({ far, server, ada }) {
    far.connect(server, ada);
    spinUntil(() => server.isConnected(ada.id));
    return ada.id;
  },
  disconnect({ far, server, ada }) {
    far.connect(server, ada);
    spinUntil(() => server.isConnected(ada.id));
    far.close();
    spinUntil(() => !server.isConnected(ada.id));
    return ada.id;
  },
  error({ far, server, ada }) {
    far.connect(server, ada);
    far.send('no JSON');
    spinUntil(() => server.stats().offences.ERR_INVALID_JSON > 0);
  },
  expired({ server }) {
    const { id } = server.registerClient({ expiresIn: 1 });
    spinUntil(() => [...server.clients()].every((client) => client.id !== id));
    return id;
  },
  messagesExpired({ far, server, ada, grace }) {
    far.connect(server, ada);
    far.send({ relay: { targetId: grace.id, message: 'late' } });
    spinUntil(() => server.stats().rejected.ERR_MESSAGE_EXPIRED > 0);
    return ada.id;
  },
};

for (const [name, happen] of Object.entries(EVENTS)) {
  test(`'${name}' reaches a listener added in the same turn by any method`, async (t) => {
    const far = await FarClient.start(t);
    for (const [way, hear] of Object.entries(WAYS)) {
      const server = await listen(t, OPTIONS);
      const [ada, grace] = pair(server);
      const first = happen({ far, server, ada, grace });
      const heard = hear(server, name);
      const [value] = await heard;
      if (name === 'error') assert.equal(value.code, 'ERR_INVALID_JSON', way);
      else assert.equal(value, first, way);
      await server.close();
    }
  });
}

test('emits in the same turn what the server itself has done', async (t) => {
  const server = await listen(t);
  const [ada] = pair(server);
  const far = await FarClient.start(t);
  const ends = {
    disconnectClient: () => server.disconnectClient(ada.id, 4000, 'go'),
    unregisterClient: () => server.unregisterClient(ada.id),
  };
  for (const end of [...Array(20).fill('disconnectClient'), 'unregisterClient']) {
    far.connect(server, ada);
    spinUntil(() => server.isConnected(ada.id));
    // In a later turn than the connection.
    await new Promise((resolve) => setImmediate(resolve));
    ends[end]();
    const [id, code] = await WAYS.once(server, 'disconnect');
    assert.deepEqual([id, code], [ada.id, end === 'disconnectClient' ? 4000 : 4502]);
  }
});

test("'listening' and 'close' reach listeners added late in the turn", async (t) => {
  const server = await listen(t);
  const second = await listen(t);
  const closed = server.close();
  // Long enough for all events to have happened.
  const until = performance.now() + 50;
  spinUntil(() => performance.now() >= until);
  const heard = WAYS.once(server, 'close');
  await Promise.all([closed, heard]);
  second.close();
  await WAYS['events.once'](second, 'close');
});

test('delivers events one by one to listeners behind await', async (t) => {
  const server = await listen(t);
  const [ada, grace] = pair(server);
  const far = await FarClient.start(t);
  async function next(name) {
    // With any number of promises between the event and its listener.
    const args = await once(server, name);
    await null;
    await null;
    return args;
  }
  const first = next('connection');
  for (const client of [ada, grace]) {
    far.connect(server, client);
    spinUntil(() => server.isConnected(client.id));
    server.disconnectClient(client.id);
  }
  assert.deepEqual(await first, [ada.id]);
  assert.equal((await next('disconnect'))[0], ada.id);
  assert.deepEqual(await next('connection'), [grace.id]);
  assert.equal((await next('disconnect'))[0], grace.id);
});

test('does not deliver an event to listeners added in a later turn', async (t) => {
  const server = await listen(t);
  const [ada, grace] = pair(server);
  const far = await FarClient.start(t);
  const heard = [];
  // This event follows all that happened before.
  for (const name of ['connection', 'disconnect']) {
    far.connect(server, ada);
    spinUntil(() => server.isConnected(ada.id));
    server.disconnectClient(ada.id);
    const { id } = server.registerClient({ expiresIn: 1 });
    while ((await once(server, 'expired'))[0] !== id);
    server.on(name, (client) => heard.push([name, client]));
  }
  heard.splice(0);
  far.connect(server, grace);
  await once(server, 'connection');
  assert.deepEqual(heard, [['connection', grace.id]]);
});

const DEAF = {
  'never a listener': () => {},
  'off()': (server) => server.on('error', assert.fail).off('error', assert.fail),
  'removeListener()': (server) => server.prependListener('error', assert.fail).removeListener('error', assert.fail),
  'removeAllListeners()': (server) => server.addListener('error', assert.fail).removeAllListeners(),
  "removeAllListeners('error')": (server) => server.on('error', assert.fail).on('error', assert.fail).removeAllListeners('error'),
  'a once() that was called': (server) => server.once('error', () => {}).emit('error', new Error('made up')),
  async 'events.once, aborted'(server) {
    const controller = new AbortController();
    const heard = once(server, 'error', { signal: controller.signal });
    controller.abort();
    await assert.rejects(heard);
  },
  'an iterator that was ended': (server) => on(server, 'connection').return(),
};

for (const [name, prepare] of Object.entries(DEAF)) {
  test(`drops errors without a listener, and no other event: ${name}`, async (t) => {
    const server = await listen(t, { maxQueuedEvents: 16, maxOffences: 100_000 });
    await prepare(server);
    const clients = Array.from({ length: 15 }, () => server.registerClient());
    const left = [];
    const all = new Promise((resolve) => {
      server.on('disconnect', (id) => {
        left.push(id);
        if (left.length === clients.length) resolve();
      });
    });
    const far = await FarClient.start(t);
    for (const [n, client] of clients.entries()) {
      far.connect(server, client);
      far.send(...Array(40).fill('no JSON'));
      spinUntil(() => server.isConnected(client.id) && server.stats().offences.ERR_INVALID_JSON === 40 * (n + 1));
      server.disconnectClient(client.id);
    }
    await all;
    assert.deepEqual(left, clients.map(({ id }) => id));
    assert.equal(server.stats().eventsDropped, 0);
  });
}
