// The code blocks of the documents, and the marks that stand before them.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { transform } from 'esbuild';
import { findFiles } from '../../scripts/files.mjs';
import { root } from '../../scripts/process.mjs';

/** The documents for users: what they show has to work. */
export const DOCUMENTS = ['README.md', ...findFiles('docs', /\.md$/)];

/** Languages of blocks that must parse, with the name that esbuild has for them. */
const LOADERS = { javascript: 'js', js: 'js', mjs: 'js', cjs: 'js', jsx: 'jsx', typescript: 'ts', ts: 'ts', tsx: 'tsx', json: 'json' };

const BLOCK = /(?:^<!-- (?<mark>[^\n]*?) -->\n)?^(?<fence>`{3,})(?<language>\w*)[^\n]*\n(?<code>[^]*?)^\k<fence>$/gm;

/**
 * The blocks of a document.
 * @param {string} path from the root
 * @returns {{ path: string, place: string, language: string, mark: string, code: string }[]} `mark` is the text of the HTML
 *   comment on the line before the block, empty if there is none
 */
export function blocksOf(path, text = readFileSync(join(root, path), 'utf8')) {
  return Array.from(text.matchAll(BLOCK), ({ index, groups: { mark = '', language, code } }) => {
    const line = text.slice(0, index).split('\n').length + (mark ? 1 : 0);
    return { path, place: `${path}:${line}`, language, mark, code };
  });
}

/**
 * How a block is to be run: `run`, or `run: KIND`, with `, prints TEXT` behind it if its output is to be looked at.
 * @returns {{ kind: string, prints: string | undefined } | undefined} `undefined` if it is not to be run
 */
export function runOf({ mark, place }) {
  if (!/^run\b/.test(mark)) return undefined;
  const { kind = 'program', prints } = /^run(?:: (?<kind>[a-z]+))?(?:, prints (?<prints>.+))?$/.exec(mark)?.groups ?? {};
  if (!/^run(: (server|node|client|page|tabs))?(, prints .+)?$/.test(mark)) throw new Error(`${place}: there is no mark "${mark}"`);
  return { kind, prints };
}

/** Says why a block does not parse; `undefined` if it does, or is in a language that is not looked at. */
export async function syntaxProblem({ language, code, place }) {
  const scripts = language === 'html' ? Array.from(code.matchAll(/<script[^>]*>([^]*?)<\/script>/g), ([, script]) => script) : [code];
  const loader = language === 'html' ? 'js' : LOADERS[language];
  if (!loader) return undefined;
  try {
    for (const script of scripts) await transform(script, { loader, logLevel: 'silent' });
    return undefined;
  } catch (error) {
    return `${place} does not parse: ${error.errors?.[0]?.text ?? error.message}`;
  }
}
