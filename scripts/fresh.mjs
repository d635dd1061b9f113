// Whether something that was built is out of date, by the dates of the files.
import { readdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { root } from './process.mjs';

/** Paths are taken from the root; what is missing is as old as can be. */
export function isOlder(made, sources) {
  return newest(resolve(root, made)) < Math.max(...sources.map((path) => newest(resolve(root, path))));
}

/** A folder's own date counts as well as its files': it is all that changes when one of them is deleted. */
function newest(path) {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (!stats) return 0;
  const inside = stats.isDirectory() ? readdirSync(path) : [];
  return Math.max(stats.mtimeMs, ...inside.map((name) => newest(join(path, name))));
}
