// Checks that Rust modules import only from lower floors: the map is the table in src/lib.rs.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { findFiles } from './files.mjs';
import { root } from './process.mjs';

/** The floor of each module. */
const FLOORS = new Map([...floorsOf(readFileSync(join(root, 'src/lib.rs'), 'utf8')), ['lib', Infinity]]);

/** Reads the table of floors: pairs of a module and its floor. */
export function floorsOf(source) {
  const rows = [...source.matchAll(/^\/\/! \| (\d+) \| (.*) \|$/gm)];
  return rows.flatMap(([, floor, row]) => row.split(/[;,] (?=\[?`)/).map((entry) => [/^\[?`(\w+)`/.exec(entry)[1], Number(floor)]));
}

/** Returns what is wrong with one file, as sentences. */
export function layerProblems(path, source) {
  const [, module] = /^src\/(\w+)/.exec(path);
  const floor = FLOORS.get(module);
  if (floor === undefined) return [`${path}: the module \`${module}\` has no floor; give it one in the table of src/lib.rs.`];

  const code = withoutCommentsAndStrings(source);
  const problems = usedModules(path, code)
    .filter((used) => used !== module && FLOORS.get(used) >= floor)
    .map((used) => `${path}: \`${module}\` uses \`${used}\`, which is not on a lower floor.`);
  if (module !== 'node' && /\bnapi(_derive)?\b/.test(code)) problems.push(`${path}: only src/node/ may name \`napi\`.`);
  return problems;
}

/** The top-level modules that `crate::…` and `super::…` paths lead to, `use` lists such as `crate::{ids, hub::Hub}` included. */
function usedModules(path, code) {
  const depth = path.replace(/\/mod\.rs$|\.rs$/, '').split('/').length - 1;
  const used = new Set();
  for (const [, start, rest] of code.matchAll(/\b(crate|(?:super\s*::\s*)*super)\s*::\s*(\{[^;]*|\w+)/g)) {
    // Inside an inline `mod tests`, `super` is the file itself: what it names there is then no module, and left out below.
    if (start !== 'crate' && start.split('::').length < depth) continue;
    const names = rest.startsWith('{') ? listHeads(rest) : [rest];
    names.filter((name) => FLOORS.has(name)).forEach((name) => used.add(name));
  }
  return [...used];
}

/** The first segment of each member of `{a, b::c, d::{e, f}}`. */
function listHeads(list) {
  const heads = [];
  let depth = 0;
  for (const [token] of list.matchAll(/[{},]|[\w:]+/g)) {
    if (token === '{') depth += 1;
    else if (token === '}') depth -= 1;
    else if (token !== ',' && depth === 1) heads.push(token.split('::')[0]);
    if (depth === 0) break;
  }
  return heads;
}

function withoutCommentsAndStrings(source) {
  return source.replace(/\/\/[^\n]*|\/\*[^]*?\*\/|\br(#*)"[^]*?"\1|"(?:\\[^]|[^"\\])*"|'(?:\\.|[^'\\])'/g, ' ');
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const files = findFiles('src', /\.rs$/);
  const problems = files.flatMap((path) => layerProblems(path, readFileSync(join(root, path), 'utf8')));
  problems.forEach((problem) => console.error(problem));
  console.log(`${files.length} files in ${FLOORS.size} modules, ${problems.length} problems.`);
  if (problems.length > 0) process.exitCode = 1;
}
