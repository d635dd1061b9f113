// Runs other programs.
import { spawn, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url));

/** An error that the user can fix. Only its message is shown. */
export class Problem extends Error {
  name = 'Problem';
}

/** Runs a program and resolves to its stdout. If it fails, the error has all of its output. */
export function capture(command, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, ...options, stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text) => ((stdout += text), (output += text)));
    child.stderr.setEncoding('utf8').on('data', (text) => (output += text));
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (code === 0) resolve(stdout);
      else reject(new Problem(`${output}\n${[command, ...args].join(' ')} failed (${signal ?? `exit code ${code}`}).`));
    });
  });
}

/** Whether a program is installed and succeeds. */
export const works = (program, ...args) => spawnSync(program, args, { stdio: 'ignore' }).status === 0;

/** Whether processes may have real-time priorities. */
export const hasPriorities = () => works('chrt', '-f', '10', 'true');

export const seconds = (since) => `${((performance.now() - since) / 1000).toFixed(1)} s`;
