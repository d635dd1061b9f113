// `npm run bench:glibc` downloads Debian's current C library into bench/.glibc, for peers that need a newer one than the
// system's. apt verifies the signatures. The system is not changed.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { capture } from '../scripts/process.mjs';
import { GLIBC, loader } from './lib/loader.mjs';

const KEYS = '/usr/share/keyrings/debian-archive-keyring.gpg';
const SOURCE = `Types: deb
URIs: http://deb.debian.org/debian
Suites: trixie
Components: main
Signed-By: ${KEYS}
`;
const PACKAGES = ['libc6', 'libstdc++6', 'libgcc-s1'];

const folder = fileURLToPath(GLIBC);
const apt = join(folder, 'apt');
rmSync(folder, { recursive: true, force: true });
for (const name of ['lists/partial', 'cache/archives/partial', 'sources', 'debs']) mkdirSync(join(apt, name), { recursive: true });
writeFileSync(join(apt, 'sources/trixie.sources'), SOURCE);
// Separate lists and sources, as if nothing were installed.
const options = {
  'Dir::Etc::SourceList': '/dev/null',
  'Dir::Etc::SourceParts': join(apt, 'sources'),
  'Dir::State::Lists': join(apt, 'lists'),
  'Dir::State::Status': '/dev/null',
  'Dir::Cache': join(apt, 'cache'),
  'Acquire::Languages': 'none',
  'APT::Sandbox::User': '',
};
const get = (...args) =>
  capture('apt-get', [...Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`]), ...args], { cwd: join(apt, 'debs') });

try {
  await get('update');
  await get('download', ...PACKAGES);
  for (const name of await readdir(join(apt, 'debs'))) await capture('dpkg-deb', ['-x', join(apt, 'debs', name), folder]);
  rmSync(apt, { recursive: true });
  console.log(`Installed: ${loader().join(' ')}`);
} catch (error) {
  rmSync(folder, { recursive: true, force: true });
  console.error(error.message);
  console.error(`This needs apt-get, dpkg-deb and ${KEYS}. Elsewhere set BENCH_LOADER, see bench/README.md.`);
  process.exitCode = 1;
}
