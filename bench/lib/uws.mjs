// Finds a build of uWebSockets.js that runs here.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { loader } from './loader.mjs';

const probe = fileURLToPath(new URL('../peers/uws-library.mjs', import.meta.url));
export const [CURRENT, OLDER] = ['20.57', '20.30'];

/** Returns the version of the C library if the build loads with this prefix, or `null`. */
function glibcWith(prefix, build) {
  const [program, ...args] = [...prefix, process.execPath, probe, build];
  const { status, stdout } = spawnSync(program, args, { encoding: 'utf8' });
  return status === 0 ? stdout.trim() : null;
}

/** Returns the first of `builds` that runs here. `glibc` is the version of its C library if it is not the system's. */
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
