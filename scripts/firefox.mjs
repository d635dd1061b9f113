// Finds a Firefox for tests between two browsers: from an environment variable, or installed.
import { delimiter, join } from 'node:path';
import { isExecutable } from './chromium.mjs';
import { Problem } from './process.mjs';

const NAMES = ['firefox', 'firefox-esr'];

/** Returns the path of a Firefox, or `undefined`. */
export function installedFirefox() {
  const { FIREFOX_PATH: named, PATH } = process.env;
  if (named && !isExecutable(named)) throw new Problem(`FIREFOX_PATH names ${named}, which is not an executable.`);
  return named || PATH.split(delimiter).flatMap((folder) => NAMES.map((name) => join(folder, name))).find(isExecutable);
}
