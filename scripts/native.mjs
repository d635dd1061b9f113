// Builds the native addon and puts it where native.js looks for it.
import { copyFileSync, renameSync, rmSync, utimesSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { capture, root } from './process.mjs';

export const binary = join(root, createRequire(import.meta.url)('../lib/binary-name.js')());

export async function buildNative() {
  const started = new Date();
  // Cargo itself tells where it put the library: target directory and triple may be configured elsewhere.
  const messages = await capture('cargo', ['build', '--release', '--locked', '--message-format=json-render-diagnostics']);
  const { filenames } = messages
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line))
    .find(({ reason, target }) => reason === 'compiler-artifact' && target.name === 'websocket_relay' && target.kind.includes('cdylib'));
  install(filenames.find((name) => /\.(so|dylib|dll)$/.test(name)), started);
}

/** In one step, so that a process that runs the old addon, or starts meanwhile, never sees half of the new one. */
function install(library, started) {
  const temporary = join(root, `tmp-${process.pid}.node`);
  try {
    copyFileSync(library, temporary);
    // Dated when the build began: a source saved during the build is newer than what was built.
    utimesSync(temporary, started, started);
    renameSync(temporary, binary);
  } finally {
    rmSync(temporary, { force: true });
  }
}
