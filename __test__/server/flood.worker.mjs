// Two plain clients on their own thread: one sends as much as it can, the other reads, at once or when told to.
import { once } from 'node:events';
import { parentPort, workerData } from 'node:worker_threads';
import { Connection } from './support.mjs';

const { from, to, clients, messages, size, shared } = workerData;
const [ada, grace] = clients;
const state = new Int32Array(shared);
const [one, two] = [await Connection.open(from, ada), await Connection.open(to, grace)];
const { _socket: sending } = one.socket;
two.socket.removeAllListeners('message');
let received = 0;
let wrong = 0;
const all = new Promise((resolve) => {
  two.socket.on('message', (data) => {
    // In order and complete.
    if (data.length < size || !data.includes(` ${received} `)) wrong += 1;
    received += 1;
    if (received === messages) resolve();
  });
});
// Both must be authenticated before the server's thread is blocked.
for (const { socket } of [one, two]) {
  socket.ping();
  await once(socket, 'pong');
}
parentPort.postMessage('ready');
await once(parentPort, 'message');

const text = 'x'.repeat(size);
for (let n = 0; n < messages; n += 1) one.relay(grace.id, ` ${n} ${text}`);
const written = sending.bytesWritten;
if (workerData.waitsForAll) {
  await all;
} else {
  // While anything is accepted, and a while longer, in which an unbounded queue would accept more.
  let taken = 0;
  for (let idle = 0; idle < 20_000; idle += 1) {
    const now = written - sending.writableLength;
    if (now !== taken) idle = 0;
    taken = now;
    await new Promise((resolve) => setImmediate(resolve));
  }
}
parentPort.postMessage({ written, taken: written - sending.writableLength, received });
// Continues if it was paused.
Atomics.store(state, 0, 1);
Atomics.notify(state, 0);
await all;
parentPort.postMessage({ received, wrong });
one.socket.terminate();
two.socket.terminate();
parentPort.close();
