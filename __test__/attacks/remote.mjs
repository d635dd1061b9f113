// Remote calls between a process and its children, over Node's IPC channel.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { hasPriorities } from '../../scripts/process.mjs';

/** Serves the other end's calls with `methods`. Returns a function that calls the other end. */
export function link(end, methods = {}) {
  const waiting = new Map();
  let last = 0;
  end.on('message', async ({ id, name, args, answer, value, error }) => {
    if (name) {
      const reply = await Promise.resolve(args)
        .then((given) => methods[name](...given))
        .then((result) => ({ value: result }), (reason) => ({ error: String(reason?.stack ?? reason) }));
      if (end.connected) end.send({ answer: id, ...reply });
      return;
    }
    const { resolve, reject } = waiting.get(answer);
    waiting.delete(answer);
    if (error) reject(new Error(error));
    else resolve(value);
  });
  end.once('exit', (code, signal) => {
    for (const { reject } of waiting.values()) reject(new Error(`the process has ended: ${code ?? signal}`));
  });
  return (name, ...args) =>
    new Promise((resolve, reject) => {
      if (!end.connected) {
        reject(new Error(`${name}: the process has ended`));
        return;
      }
      last += 1;
      waiting.set(last, { resolve, reject });
      end.send({ id: last, name, args });
    });
}

/**
 * Starts a program of this folder in a process. Returns functions to call it and to end it. `priority` is a real-time
 * priority, used if the system allows it.
 */
export function start(program, { methods, priority = 0 } = {}) {
  const first = priority > 0 && hasPriorities() ? { execPath: 'chrt', execArgv: ['-f', String(priority), process.execPath] } : {};
  const child = fork(new URL(program, import.meta.url), first);
  const isAlive = () => child.exitCode === null && child.signalCode === null;
  const end = async () => {
    if (!isAlive()) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  };
  return { call: link(child, methods), isAlive, end };
}

/** Serves calls in such a program, and exits when its parent has ended. */
export function serve(methods) {
  process.on('disconnect', () => process.exit());
  return link(process, methods);
}
