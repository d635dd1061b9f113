// Checks that the JavaScript and TypeScript modules import each other without cycles. Imports of types do not count.
import { readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { pathToFileURL } from 'node:url';
import { findFiles } from './files.mjs';
import { root } from './process.mjs';

const MODULES = /^(index\.js|native\.js|(lib|client|scripts|bench|conformance)\/.*\.(m?js|ts))$/;

/** Returns the paths of the modules that a source imports or requires by a relative path. */
export function importsOf(path, source) {
  const code = source.replace(/\/\*[^]*?\*\/|^\s*\/\/.*$/gm, '');
  const found = code.matchAll(/\brequire\('(\.[^']+)'\)|^(?:import|export)(?! type\b)[^;']*?'(\.[^']+)'/gm);
  return Array.from(found, ([, required, imported]) => posix.join(posix.dirname(path), required ?? imported));
}

/**
 * Returns each cycle as the list of its modules.
 * @param {Record<string, string[]>} graph the imports of each module
 */
export function cyclesIn(graph) {
  const cycles = [];
  const done = new Set();
  const visit = (module, trail) => {
    if (trail.includes(module)) {
      cycles.push([...trail.slice(trail.indexOf(module)), module]);
      return;
    }
    if (done.has(module)) return;
    for (const imported of graph[module] ?? []) visit(imported, [...trail, module]);
    done.add(module);
  };
  for (const module of Object.keys(graph)) visit(module, []);
  return cycles;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const files = findFiles('', MODULES);
  // TypeScript imports './x.js' for x.ts.
  const named = (path) => (files.includes(path) ? path : path.replace(/\.js$/, '.ts'));
  const graph = Object.fromEntries(files.map((path) => [path, importsOf(path, readFileSync(join(root, path), 'utf8')).map(named)]));
  const cycles = cyclesIn(graph);
  cycles.forEach((cycle) => console.error(`Import cycle: ${cycle.join(' -> ')}`));
  console.log(`${files.length} modules, ${cycles.length} import cycles.`);
  if (cycles.length > 0) process.exitCode = 1;
}
