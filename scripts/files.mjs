import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './process.mjs';

const IGNORED = new Set(['.git', 'node_modules', 'target', 'dist', 'test-results']);

/** Returns the project's files in `folder` whose path matches, sorted, relative to the root, with forward slashes. */
export function findFiles(folder, pattern) {
  return readdirSync(join(root, folder), { withFileTypes: true })
    .filter(({ name }) => !IGNORED.has(name))
    .flatMap((entry) => {
      const path = folder ? `${folder}/${entry.name}` : entry.name;
      if (entry.isDirectory()) return findFiles(path, pattern);
      return pattern.test(path) ? [path] : [];
    })
    .sort();
}
