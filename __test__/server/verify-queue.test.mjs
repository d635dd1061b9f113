// Requests are verified a few at a time, and only while their clients wait.
import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import { once } from 'node:events';
import http from 'node:http';
import test from 'node:test';
import { authenticationFrame, openRaw } from './raw.mjs';
import { WAYS, attach, keepsSockets, knock, listen, pair, statusOf } from './support.mjs';

/** Ways in which Node reads the requests. */
const OTHERS = Object.entries(WAYS).filter(([way]) => way !== 'its own port' && way !== 'an https server');

/** Blocks the thread for longer than one slice of verification. */
function work() {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
}

for (const [way, { listen: open }] of OTHERS) {
  test(`${way}: does not verify requests whose clients have left`, async (t) => {
    let asked = 0;
    const sockets = [];
    const server = await open(t, {
      verifyClient() {
        asked += 1;
        // All of them leave while the first is being verified.
        sockets.splice(0).forEach((socket, n) => (n % 2 === 0 || socket.connecting ? socket.destroy() : socket.resetAndDestroy()));
        work();
        return false;
      },
    });
    sockets.push(...Array.from({ length: 20 }, () => openRaw(server)));
    while (asked === 0) await new Promise(setImmediate);
    assert.equal(await statusOf(server), 401);
    assert.equal(asked, 2);
  });

  test(`${way}: lets other work run between two requests`, async (t) => {
    let [asked, turns] = [0, 0];
    const server = await open(t, {
      verifyClient() {
        asked += 1;
        work();
        return true;
      },
    });
    const clients = Array.from({ length: 10 }, () => knock(server));
    while (asked === 0) await new Promise(setImmediate);
    while (asked < 10) {
      turns += 1;
      await new Promise(setImmediate);
    }
    assert.ok(turns >= 8, `${turns} turns of other work during 9 questions`);
    for (const { status, socket } of await Promise.all(clients)) {
      assert.equal(status, 101);
      socket.terminate();
    }
  });

  test(`${way}: keeps early bytes of a client, up to a limit`, async (t) => {
    let answer;
    const server = await open(t, { verifyClient: (info, callback) => (answer = callback) });
    const [ada] = pair(server);
    const frame = authenticationFrame(ada);
    const socket = openRaw(server);
    while (!answer) await new Promise(setImmediate);
    socket.write(frame.subarray(0, 20));
    socket.write(frame.subarray(20));
    const connected = once(server, 'connection');
    // Early or late, either must work.
    await new Promise(setImmediate);
    answer(true);
    assert.equal((await connected)[0], ada.id);
    socket.destroy();
    answer = undefined;
    const talker = openRaw(server);
    while (!answer) await new Promise(setImmediate);
    // The end may be a reset.
    talker.on('error', () => {});
    talker.write(Buffer.alloc(32 * 1024));
    await new Promise((resolve) => talker.resume().on('end', resolve).on('close', resolve));
  });
}

test('calls the function in the async context of its request', async (t) => {
  const storage = new AsyncLocalStorage();
  const contexts = [];
  const web = http.createServer();
  let count = 0;
  web.on('upgrade', (request, socket, head) => storage.run(++count, () => relay.handleUpgrade(request, socket, head)));
  const relay = await attach(t, web, { verifyClient: () => contexts.push(storage.getStore()) });
  // The relay's own listener is the first.
  web.removeListener('upgrade', web.listeners('upgrade')[0]);
  assert.deepEqual([await statusOf(relay), await statusOf(relay)], [101, 101]);
  assert.deepEqual(contexts, [1, 2]);
});

for (const [name, open] of [['its own port', listen], ['an http server', (t, options) => attach(t, keepsSockets(http.createServer()), options)]]) {
  test(`${name}: frees the places of clients that have left without a decision`, async (t) => {
    let asked = 0;
    const verifyClient = ({ req }) => (req.headers.cookie ? true : new Promise(() => void (asked += 1)));
    const server = await open(t, { verifyClient, headersTimeout: 60_000 });
    // More than may be verified at a time.
    for (let n = 0; n < 2500; n += 250) {
      const sockets = Array.from({ length: 250 }, () => openRaw(server));
      while (asked < n + 250) await new Promise(setImmediate);
      sockets.forEach((socket) => socket.destroy());
    }
    const { status, socket } = await knock(server, { headers: { cookie: 'a=b' } });
    assert.equal(status, 101);
    socket.terminate();
  });
}
