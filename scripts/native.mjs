// Builds the native addon and installs it where native.js loads it from.
import { copyFileSync, renameSync, rmSync, utimesSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { capture, root } from './process.mjs';

export const binary = join(root, createRequire(import.meta.url)('../lib/binary-name.js')());

export async function buildNative() {
  const started = new Date();
  // The path from Cargo's messages: target directory and triple may be configured elsewhere.
  const messages = await capture('cargo', ['build', '--release', '--locked', '--message-format=json-render-diagnostics']);
  const { filenames } = messages
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line))
    .find(({ reason, target }) => reason === 'compiler-artifact' && target.name === 'websocket_relay' && target.kind.includes('cdylib'));
  install(filenames.find((name) => /\.(so|dylib|dll)$/.test(name)), started);
}

/** Replaces the addon atomically, for processes that use or load it meanwhile. */
function install(library, started) {
  const temporary = join(root, `tmp-${process.pid}.node`);
  try {
    copyFileSync(library, temporary);
    // The time the build began, so that a source saved during the build counts as newer.
    utimesSync(temporary, started, started);
    renameSync(temporary, binary);
  } finally {
    rmSync(temporary, { force: true });
  }
}
