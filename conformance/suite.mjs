// Autobahn|Testsuite, installed where `cargo clean` finds it. It runs on Python 2.7 only.
import { existsSync, readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { Problem, capture } from '../scripts/process.mjs';

const VERSION = '25.10.1';
const MINUTES = 15;

const IS_RIGHT = 'import sys, pip; sys.exit(sys.version_info[:2] != (2, 7))';
const MISSING = `Autobahn|Testsuite needs Python 2.7 with pip, and none was found: "pyenv install 2.7.18" makes one, or
say where it is in the environment variable PYTHON2.`;

/** Installs the suite below `folder`, unless it is there; resolves to a function that runs its `wstest`. */
export async function prepareSuite(folder) {
  const python = await findPython();
  // What pip installs for a user goes there, and is found there.
  const env = { ...process.env, PYTHONUSERBASE: join(folder, `autobahntestsuite-${VERSION}`) };
  const run = (...command) => capture(python, command, { env, timeout: MINUTES * 60_000 });
  if (!(await works(() => run('-c', 'import autobahntestsuite.wstest')))) {
    console.log(`Installing Autobahn|Testsuite ${VERSION} …`);
    const quietly = ['--quiet', '--disable-pip-version-check', '--no-warn-script-location'];
    await run('-m', 'pip', 'install', '--user', '--ignore-installed', ...quietly, `autobahntestsuite==${VERSION}`);
  }
  return (...args) => run('-m', 'autobahntestsuite.wstest', ...args);
}

async function findPython() {
  const pyenv = join(process.env.PYENV_ROOT ?? join(homedir(), '.pyenv'), 'versions');
  const versions = existsSync(pyenv) ? readdirSync(pyenv).filter((name) => name.startsWith('2.7.')) : [];
  const installed = versions.map((name) => join(pyenv, name, 'bin/python2.7'));
  const candidates = process.env.PYTHON2 ? [process.env.PYTHON2] : ['python2.7', 'python2', ...installed];
  for (const python of candidates) {
    if (await works(() => capture(python, ['-c', IS_RIGHT]))) return python;
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
