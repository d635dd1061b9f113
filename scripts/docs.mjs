// Checks what the documents tell a reader to run or to open: npm scripts, files, and headings.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { findFiles } from './files.mjs';
import { root } from './process.mjs';

const NPM_ITSELF = new Set(['ci', 'i', 'init', 'install', 'login', 'pack', 'publish', 'version']);
const CODE = /^(`{3,})[^]*?^\1$|`[^`\n]+`/gm;

/**
 * Problems of one document as sentences, none when all is well.
 * @param {string} path of the document, from the root
 * @param {string} text
 * @param {Record<string, string>} scripts of package.json
 * @param {(path: string) => boolean} exists says whether there is a file, by its path from the root
 * @param {(path: string) => string} [read] reads another document, by its path from the root
 */
export function docProblems(path, text, scripts, exists, read = () => '') {
  const code = text.match(CODE)?.join('\n') ?? '';
  const commands = Array.from(code.matchAll(/\bnpm (?:run )?([a-z][\w:-]*)/g))
    .filter(([, name]) => !(name in scripts) && !NPM_ITSELF.has(name))
    .map(([command]) => `${path}: \`${command}\` is no script of package.json.`);
  const links = Array.from(text.matchAll(/\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]*))?\)/g)).flatMap(([, file, anchor]) => {
    const target = file ? join(dirname(path), file) : path;
    if (file && !exists(target)) return [`${path}: the link to ${file} leads nowhere.`];
    if (anchor === undefined || !target.endsWith('.md')) return [];
    const anchors = anchorsOf(file ? read(target) : text);
    return anchors.has(anchor) ? [] : [`${path}: ${file || 'this document'} has no heading #${anchor}.`];
  });
  return [...commands, ...links];
}

/** The anchors that GitHub and npm give to the headings of a document. */
export function anchorsOf(text) {
  const anchors = new Set();
  const prose = text.replace(/^(`{3,})[^]*?^\1$/gm, '');
  for (const [, heading] of prose.matchAll(/^#{1,6} +(.+)$/gm)) {
    const plain = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').trim().toLowerCase();
    const slug = plain.replace(/[^\p{Letter}\p{Mark}\p{Number}\p{Connector_Punctuation}\- ]/gu, '').replaceAll(' ', '-');
    let anchor = slug;
    for (let count = 1; anchors.has(anchor); count++) anchor = `${slug}-${count}`;
    anchors.add(anchor);
  }
  return anchors;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const read = (path) => readFileSync(join(root, path), 'utf8');
  const { scripts } = JSON.parse(read('package.json'));
  const documents = findFiles('', /\.md$/);
  const problems = documents.flatMap((path) => docProblems(path, read(path), scripts, (target) => existsSync(join(root, target)), read));
  problems.forEach((problem) => console.error(problem));
  console.log(`${documents.length} documents, ${problems.length} problems.`);
  if (problems.length > 0) process.exitCode = 1;
}
