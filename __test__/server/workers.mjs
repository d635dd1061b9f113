// Worker threads with a relay each, terminated under traffic.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { Connection } from './support.mjs';

/** A thread whose relay has its own port. Such a program posts two clients and the URL. */
export const onItsPort = `
  const RelayServer = require(${JSON.stringify(new URL('../..', import.meta.url).pathname)});
  const { parentPort } = require('node:worker_threads');
  const server = new RelayServer({ port: 0, host: '127.0.0.1', threads: 2 }, () => {
    const clients = [server.registerClient(), server.registerClient()];
    server.registerRelayChannel(0, 1);
    parentPort.postMessage({ clients, url: 'ws://127.0.0.1:' + server.address().port });
  });
  server.on('connection', () => {});`;

/** Starts a thread, and terminates it while one client floods the other. */
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
