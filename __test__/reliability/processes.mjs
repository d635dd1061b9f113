// Runs the programs of this folder in processes of their own.
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';

const killed = new WeakSet();

/** Starts a program with an order, its first message. If it fails, so does this process. */
export function start(program, order) {
  const child = fork(new URL(program, import.meta.url));
  // Not awaited: if it fails, the unhandled rejection ends this process.
  void once(child, 'exit').then(([code, signal]) => {
    assert.ok(code === 0 || killed.has(child), `${program} ended with ${code ?? signal}`);
  });
  tell(child, order);
  return child;
}

/** Sends a message, which is lost if the process ends. */
export function tell(child, message) {
  child.send(message, () => {});
}

/** Kills a process, and resolves when it is gone. */
export async function kill(child) {
  killed.add(child);
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}
