// `npm run torture:cycles` opens a million connections that authenticate, relay a message and close. Memory and descriptors must
// not grow. Options: --cycles, --growth (MB allowed after the first hundred thousand).
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import RelayServer from 'websocket-relay';
import { capture, root } from '../../scripts/process.mjs';
import { addRustToPath } from '../../scripts/rust.mjs';

const CLIENTS = 4;

const { values } = parseArgs({
  options: { cycles: { type: 'string', default: '1000000' }, growth: { type: 'string', default: '4' } },
});
addRustToPath();
const folder = join(root, 'bench', 'load');
await capture('cargo', ['build', '--release', '--locked', '--bin', 'cycles'], { cwd: folder });

const server = new RelayServer({ port: 0, host: '127.0.0.1', threads: 2 });
const errors = [];
server.on('error', (error) => errors.push(error));
server.on('connection', () => {});
server.on('disconnect', () => {});
await once(server, 'listening');
const clients = Array.from({ length: CLIENTS }, () => server.registerClient());
for (const { id } of clients) server.registerRelayChannel(id, id);
// Opened with the first connection, and kept.
await new Promise((resolve) => setImmediate(resolve));
const before = descriptors();

const load = spawn(join(folder, 'target', 'release', 'cycles'), { stdio: ['pipe', 'pipe', 'inherit'] });
const ended = once(load, 'close');
load.stdin.end(JSON.stringify({ port: server.address().port, clients, cycles: Number(values.cycles) }));
const rows = [];
for await (const line of createInterface(load.stdout)) rows.push(row(Number(line)));
const [code] = await ended;
while (server.stats().connections > 0) await new Promise((resolve) => setImmediate(resolve));
// Their descriptors are closed a moment later.
const deadline = performance.now() + 10_000;
while (descriptors() > before && performance.now() < deadline) await new Promise((resolve) => setImmediate(resolve));
const after = descriptors();
const growth = rows.length > 1 ? rows.at(-1).MB - rows[0].MB : 0;
console.table(rows);
const problems = [
  code !== 0 && `the load ended with ${code}`,
  errors.length > 0 && `${errors.length} errors, the first: ${errors[0]}`,
  after > before && `${before} descriptors before, ${after} after`,
  growth > Number(values.growth) && `${growth.toFixed(1)} MB more than after the first hundred thousand`,
  server.stats().queuedMessages > 0 && 'messages are left',
].filter(Boolean);
problems.forEach((problem) => console.error(problem));
if (problems.length > 0) process.exitCode = 1;
else console.log(`${values.cycles} cycles: ${before} descriptors before and ${after} after, ${growth.toFixed(1)} MB of growth`);
await server.close();

function row(cycles) {
  globalThis.gc?.();
  const { rss, heapUsed } = process.memoryUsage();
  const figures = { cycles, MB: rss / 1e6, heap: heapUsed / 1e6, descriptors: descriptors() };
  console.log(figures);
  return figures;
}

/** Returns the descriptors of this process, which include only pipes to the load's process. */
function descriptors() {
  return readdirSync('/proc/self/fd').length;
}
