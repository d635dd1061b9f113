// Pairs of plain WebSocket clients on their own thread, which send to each other and count what arrives.
import { once } from 'node:events';
import { parentPort, workerData } from 'node:worker_threads';
import { Connection } from './support.mjs';

const { place: server, pairs, messages } = workerData;
const wrong = [];
let received = 0;

const connections = [];
for (const [ada, grace] of pairs) {
  connections.push(...(await Promise.all([connect(ada, grace), connect(grace, ada)])));
}
parentPort.postMessage('connected');
await once(parentPort, 'message');

const total = connections.length * messages;
for (let n = 0; n < messages; n += 1) {
  for (const { connection, peer } of connections) connection.relay(peer.id, `message ${n}`);
  // A little at a time, so that sending continues while the server's thread is blocked.
  await new Promise((resolve) => setImmediate(resolve));
}

async function connect(client, peer) {
  const connection = await Connection.open(server, client);
  let next = 0;
  connection.socket.removeAllListeners('message');
  connection.socket.on('message', (data) => {
    const text = JSON.stringify({ relay: { senderId: peer.id, message: `message ${next}` } });
    if (String(data) !== text && wrong.length < 10) wrong.push({ expected: text, got: String(data) });
    next += 1;
    received += 1;
    if (received === 1) parentPort.postMessage('flowing');
    if (received === total) finish();
  });
  return { connection, peer };
}

function finish() {
  // A duplicate would come now: wait for a pong on every connection.
  const pongs = connections.map(({ connection: { socket } }) => {
    socket.ping();
    return once(socket, 'pong');
  });
  Promise.all(pongs).then(() => {
    parentPort.postMessage({ received, wrong });
    for (const { connection } of connections) connection.socket.terminate();
    parentPort.close();
  });
}
