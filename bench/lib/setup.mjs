// Builds the package and the load generator, and installs the other servers.
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setup as setUpPackage } from '../../scripts/prepare.mjs';
import { capture, root } from '../../scripts/process.mjs';

const folder = join(root, 'bench');

export async function setup() {
  await setUpPackage({ forTests: false });
  const [installed, wanted] = ['node_modules/.package-lock.json', 'package-lock.json'].map((name) => join(folder, name));
  if (!existsSync(installed) || statSync(installed).mtimeMs < statSync(wanted).mtimeMs) {
    console.log('Installing the other servers …');
    await capture('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: folder });
  }
  // Does nothing if up to date.
  await capture('cargo', ['build', '--release', '--locked'], { cwd: join(folder, 'load') });
}
