// What the documents tell a reader to run or to open must be there.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { findFiles } from './files.mjs';
import { root } from './process.mjs';

const NPM_ITSELF = new Set(['ci', 'i', 'init', 'install', 'login', 'pack', 'publish', 'version']);

/** What is wrong with one document: sentences, none when all is well. `exists` says so of a path from the root. */
export function docProblems(path, text, scripts, exists) {
  const code = text.match(/```[^]*?```|`[^`\n]+`/g)?.join('\n') ?? '';
  const commands = Array.from(code.matchAll(/\bnpm (?:run )?([a-z][\w:-]*)/g))
    .filter(([, name]) => !(name in scripts) && !NPM_ITSELF.has(name))
    .map(([command]) => `${path}: \`${command}\` is no script of package.json.`);
  const links = Array.from(text.matchAll(/\]\((?!\w+:|#)([^)#\s]+)/g), ([, target]) => target)
    .filter((target) => !exists(join(dirname(path), target)))
    .map((target) => `${path}: the link to ${target} leads nowhere.`);
  return [...commands, ...links];
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const read = (path) => readFileSync(join(root, path), 'utf8');
  const { scripts } = JSON.parse(read('package.json'));
  const documents = findFiles('', /\.md$/);
  const problems = documents.flatMap((path) => docProblems(path, read(path), scripts, (target) => existsSync(join(root, target))));
  problems.forEach((problem) => console.error(problem));
  console.log(`${documents.length} documents, ${problems.length} problems.`);
  if (problems.length > 0) process.exitCode = 1;
}
