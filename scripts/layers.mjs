// Holds the Rust modules to the floors of the house: a module may use lower floors and its own room, nothing else.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { findFiles } from './files.mjs';
import { root } from './process.mjs';

/** Floors from the ground up; each floor is a list of rooms, each room the modules that may use one another. */
const FLOORS = [
  [['ids', 'limits', 'events', 'metrics', 'error', 'copy', 'read_buffer', 'trim', 'hand', 'printable', 'faults', 'sync']],
  [['protocol'], ['model'], ['access']],
  [['backend']],
  [['session', 'wire', 'stream']],
  [['listener']],
  [['relay']],
  [['node']],
  [['lib']],
];

const PLACES = new Map(
  FLOORS.flatMap((rooms, floor) => rooms.flatMap((room) => room.map((module) => [module, { floor, room }]))),
);

/** What is wrong with one file: sentences, none when all is well. */
export function layerProblems(path, source) {
  const [, module] = /^src\/(\w+)/.exec(path);
  const place = PLACES.get(module);
  if (!place) return [`${path}: the module \`${module}\` has no floor; give it one in scripts/layers.mjs.`];

  const code = withoutCommentsAndStrings(source);
  const problems = usedModules(path, code)
    .filter((used) => used !== module && !mayUse(place, PLACES.get(used)))
    .map((used) => `${path}: \`${module}\` uses \`${used}\`, which is not on a lower floor.`);
  if (module !== 'node' && /\bnapi(_derive)?\b/.test(code)) problems.push(`${path}: only src/node/ may name \`napi\`.`);
  return problems;
}

function mayUse(user, used) {
  return used.floor < user.floor || used.room === user.room;
}

/** The top-level modules that `crate::…` and `super::…` paths lead to, `use` lists such as `crate::{ids, hub::Hub}` included. */
function usedModules(path, code) {
  const depth = path.replace(/\/mod\.rs$|\.rs$/, '').split('/').length - 1;
  const used = new Set();
  for (const [, start, rest] of code.matchAll(/\b(crate|(?:super\s*::\s*)*super)\s*::\s*(\{[^;]*|\w+)/g)) {
    // Inside an inline `mod tests`, `super` is the file itself: what it names there is then no module, and left out below.
    if (start !== 'crate' && start.split('::').length < depth) continue;
    const names = rest.startsWith('{') ? listHeads(rest) : [rest];
    names.filter((name) => PLACES.has(name)).forEach((name) => used.add(name));
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
  console.log(`${files.length} files in ${PLACES.size} modules, ${problems.length} problems.`);
  if (problems.length > 0) process.exitCode = 1;
}
