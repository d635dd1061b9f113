// Installs Autobahn|Testsuite below `target/`, so that `cargo clean` removes it. It needs Python 2.7.
import { existsSync, readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { Problem, capture } from '../scripts/process.mjs';

const VERSION = '25.10.1';
const MINUTES = 15;

const IS_USABLE = 'import sys, pip; sys.exit(sys.version_info[:2] != (2, 7))';
const MISSING = `Autobahn|Testsuite needs Python 2.7 with pip, which was not found. Install it with "pyenv install 2.7.18", or
set the environment variable PYTHON2 to its path.`;

/** Installs the suite below `folder` if it is missing. Resolves to a function that runs its `wstest`. */
export async function prepareSuite(folder) {
  const python = await findPython();
  // The place where pip installs packages for a user, and Python finds them.
  const env = { ...process.env, PYTHONUSERBASE: join(folder, `autobahntestsuite-${VERSION}`) };
  const run = (...command) => capture(python, command, { env, timeout: MINUTES * 60_000 });
  if (!(await works(() => run('-c', 'import autobahntestsuite.wstest')))) {
    console.log(`Installing Autobahn|Testsuite ${VERSION} …`);
    const quiet = ['--quiet', '--disable-pip-version-check', '--no-warn-script-location'];
    await run('-m', 'pip', 'install', '--user', '--ignore-installed', ...quiet, `autobahntestsuite==${VERSION}`);
  }
  return (...args) => run('-m', 'autobahntestsuite.wstest', ...args);
}

async function findPython() {
  const pyenv = join(process.env.PYENV_ROOT ?? join(homedir(), '.pyenv'), 'versions');
  const versions = existsSync(pyenv) ? readdirSync(pyenv).filter((name) => name.startsWith('2.7.')) : [];
  const installed = versions.map((name) => join(pyenv, name, 'bin/python2.7'));
  const candidates = process.env.PYTHON2 ? [process.env.PYTHON2] : ['python2.7', 'python2', ...installed];
  for (const python of candidates) {
    if (await works(() => capture(python, ['-c', IS_USABLE]))) return python;
  }
  throw new Problem(MISSING);
}

async function works(attempt) {
  try {
    await attempt();
    return true;
  } catch {
    return false;
  }
}
