// `npm run torture:workers`: threads with a server each, terminated in mid-traffic again and again. Nothing may crash, and
// neither memory nor descriptors grow. Option: --workers.
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { Connection } from '../server/support.mjs';

const TOGETHER = 4;
const { values } = parseArgs({ options: { workers: { type: 'string', default: '200' } } });
const source = `
  const RelayServer = require(${JSON.stringify(new URL('../..', import.meta.url).pathname)});
  const { parentPort } = require('node:worker_threads');
  const server = new RelayServer({ port: 0, host: '127.0.0.1', threads: 2 }, () => {
    const clients = [server.registerClient(), server.registerClient()];
    server.registerRelayChannel(0, 1);
    parentPort.postMessage({ clients, address: server.address() });
  });
  server.on('connection', () => {});`;

const rows = [];
for (let done = 0; done < Number(values.workers); done += TOGETHER) {
  await Promise.all(Array.from({ length: TOGETHER }, live));
  if ((done + TOGETHER) % 40 === 0) rows.push(row(done + TOGETHER));
}
console.table(rows);
const [first, last] = [rows[0], rows.at(-1)];
const problems = [
  last.descriptors > first.descriptors && `${first.descriptors} descriptors, then ${last.descriptors}`,
  last.threads > first.threads && `${first.threads} threads, then ${last.threads}`,
  last.MB > first.MB * 1.25 + 8 && `${first.MB.toFixed(1)} MB, then ${last.MB.toFixed(1)}`,
].filter(Boolean);
problems.forEach((problem) => console.error(problem));
if (problems.length > 0) process.exitCode = 1;

/** One thread, from its start to its end in the midst of messages. */
async function live() {
  const worker = new Worker(source, { eval: true });
  const [{ clients, address }] = await once(worker, 'message');
  const [one, two] = await Promise.all(clients.map((client) => Connection.open({ address: () => address }, client)));
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

function row(workers) {
  globalThis.gc?.();
  const count = (folder) => readdirSync(`/proc/self/${folder}`).length;
  return { workers, MB: process.memoryUsage().rss / 1e6, descriptors: count('fd'), threads: count('task') };
}
