// The steps of setup.mjs and build.mjs.
import { join } from 'node:path';
import { chromiumOptions, needsUnpacking } from './chromium.mjs';
import { isOlder } from './fresh.mjs';
import { binary, buildNative } from './native.mjs';
import { capture, root, seconds } from './process.mjs';
import { checkRust } from './rust.mjs';

const NATIVE_SOURCES = ['src', 'Cargo.toml', 'Cargo.lock', 'build.rs'];
const CLIENT_SOURCES = ['client', 'scripts/compile.mjs'];

export async function setup({ forTests }) {
  if (forTests) checkRust();
  await installPackages();
  if (isOlder('dist/websocket_relay.min.js', CLIENT_SOURCES)) await compileClient();
  if (isOlder(binary, NATIVE_SOURCES)) await compileNative();
  if (forTests && needsUnpacking()) await step('Unpacking Chromium', chromiumOptions);
}

export async function build() {
  checkRust();
  await installPackages();
  await compileClient();
  await compileNative();
}

async function installPackages() {
  if (!isOlder('node_modules/.package-lock.json', ['package-lock.json'])) return;
  // No dependency needs its install script, and npm 12 does not run them.
  await step('Installing the npm packages', () => npm('ci', '--ignore-scripts', '--no-audit', '--no-fund'));
}

function compileClient() {
  return step('Compiling the client', () => capture(process.execPath, [join(root, 'scripts/compile.mjs')]));
}

function compileNative() {
  checkRust();
  return step('Building the native addon (a minute or two the first time)', buildNative);
}

async function step(title, work) {
  const started = performance.now();
  process.stdout.write(`${title} ... `);
  try {
    await work();
  } catch (error) {
    process.stdout.write('failed\n');
    throw error;
  }
  process.stdout.write(`${seconds(started)}\n`);
}

function npm(...args) {
  const { npm_execpath: cli } = process.env;
  return cli ? capture(process.execPath, [cli, ...args]) : capture('npm', args, { shell: process.platform === 'win32' });
}
