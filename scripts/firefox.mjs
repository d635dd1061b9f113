// Finds a Firefox for the tests that take two kinds of browsers: one that was named, or one that is installed.
import { delimiter, join } from 'node:path';
import { isExecutable } from './chromium.mjs';
import { Problem } from './process.mjs';

const NAMES = ['firefox', 'firefox-esr'];

/** The path of a Firefox, or undefined. */
export function installedFirefox() {
  const { FIREFOX_PATH: named, PATH } = process.env;
  if (named && !isExecutable(named)) throw new Problem(`FIREFOX_PATH says ${named}, which is no program.`);
  return named || PATH.split(delimiter).flatMap((folder) => NAMES.map((name) => join(folder, name))).find(isExecutable);
}
