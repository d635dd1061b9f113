// `npm run torture:workers` starts threads with a server each and terminates them under traffic. Nothing may crash, and neither
// memory nor descriptors may grow in the second half. Option: --workers.
import { readdirSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { onItsPort, terminateInTraffic } from '../server/workers.mjs';

const TOGETHER = 4;
const { values } = parseArgs({ options: { workers: { type: 'string', default: '400' } } });

const rows = [];
for (let done = 0; done < Number(values.workers); done += TOGETHER) {
  await Promise.all(Array.from({ length: TOGETHER }, () => terminateInTraffic(onItsPort)));
  if ((done + TOGETHER) % 40 === 0) rows.push(row(done + TOGETHER));
}
console.table(rows);
// The allocator's memory settles after about two hundred threads.
const [first, last] = [rows[Math.floor(rows.length / 2) - 1] ?? rows[0], rows.at(-1)];
const problems = [
  last.descriptors > first.descriptors && `${first.descriptors} descriptors, then ${last.descriptors}`,
  last.threads > first.threads && `${first.threads} threads, then ${last.threads}`,
  last.MB > first.MB + 8 && `${first.MB.toFixed(1)} MB, then ${last.MB.toFixed(1)}`,
].filter(Boolean);
problems.forEach((problem) => console.error(problem));
if (problems.length > 0) process.exitCode = 1;

function row(workers) {
  globalThis.gc?.();
  const count = (folder) => readdirSync(`/proc/self/${folder}`).length;
  return { workers, MB: process.memoryUsage().rss / 1e6, descriptors: count('fd'), threads: count('task') };
}
