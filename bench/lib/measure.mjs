// Measures a server on one core, with the load generator on another.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { hasPriorities, works } from '../../scripts/process.mjs';

const LOAD = fileURLToPath(new URL('../load/target/release/load', import.meta.url));
const MAX_SECONDS = 60;

/** Returns what this machine supports. */
export function conditions() {
  return {
    isPinned: availableParallelism() > 1 && works('taskset', '-c', '0,1', 'true'),
    isRealTime: hasPriorities(),
    files: Number(spawnSync('sh', ['-c', 'ulimit -n'], { encoding: 'utf8' }).stdout) || 1024,
  };
}

const running = new Set();
// Children end with this program.
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

function start(command, core, isRealTime, { isPinned }, stdio) {
  const pin = isPinned ? ['taskset', '-c', String(core)] : [];
  const priority = isRealTime ? ['chrt', '-f', '10'] : [];
  const [program, ...args] = [...priority, ...pin, ...command];
  const child = spawn(program, args, { stdio, env: { ...process.env, RUST_BACKTRACE: '0' } });
  running.add(child);
  child.on('close', () => running.delete(child));
  return child;
}

async function firstLine(child) {
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`the server ended with ${code}`);
  });
  ended.catch(() => {});
  const [line] = await Promise.race([once(createInterface(child.stdout), 'line'), ended]);
  return line;
}

/** Returns the figures of one run. Throws if the server does not start or a message is lost. */
export async function measure(peer, plan, { registered, channels, isRealTime, machine }) {
  const isPriority = Boolean(isRealTime && machine.isRealTime);
  const server = start(peer.command(registered ?? plan.clients + (plan.idle ?? 0), channels ?? 1), 0, isPriority, machine, ['ignore', 'pipe', 'pipe']);
  let complaint = '';
  server.stderr.setEncoding('utf8').on('data', (text) => (complaint = (complaint + text).slice(-2000)));
  const ended = once(server, 'close');
  try {
    const introduction = JSON.parse(await firstLine(server));
    const load = start([LOAD], 1, isPriority, machine, ['pipe', 'pipe', 'pipe']);
    let [figures, problem] = ['', ''];
    load.stdout.setEncoding('utf8').on('data', (text) => (figures += text));
    load.stderr.setEncoding('utf8').on('data', (text) => (problem += text));
    load.stdin.on('error', () => {}).end(
      JSON.stringify({ server: introduction, generation: peer.generation ?? 1, maxSeconds: MAX_SECONDS, scenario: plan }),
    );
    const [code] = await once(load, 'close');
    if (code !== 0) throw new Error(problem.trim() || `the load generator ended with ${code}`);
    return JSON.parse(figures);
  } catch (error) {
    throw new Error([error.message, complaint.trim()].filter(Boolean).join('\n'), { cause: error });
  } finally {
    server.kill('SIGKILL');
    await ended;
  }
}
