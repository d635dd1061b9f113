// Worker threads with a relay each, terminated in the midst of messages.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { Connection } from './support.mjs';

/** The program of a thread whose relay has a port of its own. A program tells two clients and where they connect. */
export const onItsPort = `
  const RelayServer = require(${JSON.stringify(new URL('../..', import.meta.url).pathname)});
  const { parentPort } = require('node:worker_threads');
  const server = new RelayServer({ port: 0, host: '127.0.0.1', threads: 2 }, () => {
    const clients = [server.registerClient(), server.registerClient()];
    server.registerRelayChannel(0, 1);
    parentPort.postMessage({ clients, url: 'ws://127.0.0.1:' + server.address().port });
  });
  server.on('connection', () => {});`;

/** One thread, from its start to its end while one client floods the other. */
export async function terminateInTraffic(source) {
  const worker = new Worker(source, { eval: true });
  const [{ clients, url }] = await once(worker, 'message');
  const [one, two] = await Promise.all(clients.map((client) => Connection.open({ url }, client)));
  const flood = () => {
    if (one.socket.readyState !== 1) return;
    one.relay(1, 'x'.repeat(1000));
    setImmediate(flood);
  };
  flood();
  for (let n = 0; n < 20; n += 1) await two.relayed();
  await worker.terminate();
  await Promise.all([one.closed, two.closed]);
}
