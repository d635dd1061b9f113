// Which build of uWebSockets.js is measured, and what it is run with.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { loader } from './loader.mjs';

const probe = fileURLToPath(new URL('../peers/uws-library.mjs', import.meta.url));
export const [CURRENT, OLDER] = ['20.57', '20.30'];

/** The C library's version if that build loads with `prefix` before the command. */
function glibcWith(prefix, build) {
  const [program, ...args] = [...prefix, process.execPath, probe, build];
  const { status, stdout } = spawnSync(program, args, { encoding: 'utf8' });
  return status === 0 ? stdout.trim() : null;
}

/** The first of `builds` that runs here; `glibc` is the version of a C library other than the system's. */
export function findBuild(builds) {
  const prefixes = [[], loader()].filter(Boolean);
  for (const build of builds) {
    for (const prefix of prefixes) {
      const glibc = glibcWith(prefix, build);
      if (glibc) return { build, prefix, glibc: prefix.length > 0 ? glibc : null };
    }
  }
  return null;
}
