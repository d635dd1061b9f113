// Decides by modification times whether something must be built again.
import { readdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { root } from './process.mjs';

/** Whether a file is older than any of its sources, or missing. Paths are relative to the root. */
export function isOlder(made, sources) {
  return newest(resolve(root, made)) < Math.max(...sources.map((path) => newest(resolve(root, path))));
}

/** Includes the folder's own time, which changes when a file in it is deleted. */
function newest(path) {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (!stats) return 0;
  const inside = stats.isDirectory() ? readdirSync(path) : [];
  return Math.max(stats.mtimeMs, ...inside.map((name) => newest(join(path, name))));
}
