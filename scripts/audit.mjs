// `npm run audit` checks licences, sources and known vulnerabilities of the dependencies; `npm run audit -- licences` checks only
// the licences and sources, which needs no network.
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { installTool } from './cargo-tools.mjs';
import { Problem } from './process.mjs';
import { runSteps } from './steps.mjs';

const npm = process.platform === 'win32' ? ['cmd', '/c', 'npm'] : ['npm'];
const deny = ['cargo', 'deny', '--locked'];

/** The workspaces that have a lock file. */
const CRATES = { 'the addon': 'Cargo.toml', 'fuzz targets': 'fuzz/Cargo.toml', 'load generator': 'bench/load/Cargo.toml' };

/** The rules of cargo-deny are in deny.toml. */
const steps = [
  { name: 'Crates: licences, bans, sources', command: [...deny, 'check', 'licenses', 'bans', 'sources'] },
  ...advisories(process.env.ADVISORY_DB),
  { name: 'Packages: advisories of npm, runtime', command: [...npm, 'audit', '--omit=dev'] },
  { name: 'Packages: advisories of npm, development', command: [...npm, 'audit'] },
];

/** @param clone path of a clone of RustSec's database, to fetch from in place of GitHub */
function advisories(clone) {
  const check = Object.entries(CRATES).map(([name, path]) => ({
    name: `Crates: advisories of RustSec, ${name}`,
    command: [...deny, '--manifest-path', path, 'check', 'advisories'],
  }));
  if (!clone) return check;
  const env = {
    GIT_CONFIG_COUNT: '1',
    GIT_CONFIG_KEY_0: `url.${pathToFileURL(resolve(clone))}.insteadOf`,
    GIT_CONFIG_VALUE_0: 'https://github.com/RustSec/advisory-db',
  };
  return [
    { name: 'Crates: advisories of RustSec, date of the clone', command: ['git', '-C', clone, 'log', '-1', '--format=%H %cs', 'main'] },
    ...check.map((step) => ({ ...step, env })),
  ];
}

const words = process.argv.slice(2).map((word) => word.toLowerCase());
try {
  await installTool('cargo-deny');
  await runSteps(steps.filter((step) => words.every((word) => step.name.toLowerCase().includes(word))));
} catch (error) {
  if (!(error instanceof Problem)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
