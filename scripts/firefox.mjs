// Finds a Firefox for the tests that take two kinds of browsers: the one that is named.
import { isExecutable } from './chromium.mjs';
import { Problem } from './process.mjs';

/** The path of a Firefox, or undefined. One that is merely installed is not taken: a call with it stands still now and then. */
export function namedFirefox() {
  const { FIREFOX_PATH: named } = process.env;
  if (named && !isExecutable(named)) throw new Problem(`FIREFOX_PATH says ${named}, which is no program.`);
  return named;
}
