import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './process.mjs';

const NOT_OURS = new Set(['.git', 'node_modules', 'target', 'dist', 'test-results']);

/** The project's own files below `folder` whose path matches, as sorted paths from the root with forward slashes. */
export function findFiles(folder, pattern) {
  return readdirSync(join(root, folder), { withFileTypes: true })
    .filter(({ name }) => !NOT_OURS.has(name))
    .flatMap((entry) => {
      const path = folder ? `${folder}/${entry.name}` : entry.name;
      if (entry.isDirectory()) return findFiles(path, pattern);
      return pattern.test(path) ? [path] : [];
    })
    .sort();
}
