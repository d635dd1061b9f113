'use strict';

const { existsSync } = require('node:fs');
const { join } = require('node:path');
const binaryName = require('./lib/binary-name.js');

const file = join(__dirname, binaryName());

module.exports = load();

function load() {
  if (!existsSync(file)) throw loadError('ERR_NATIVE_NOT_FOUND', `${file} is missing`);
  try {
    return require(file);
  } catch (cause) {
    // Usually an addon for another C library.
    throw loadError(cause.code, cause.message, cause);
  }
}

function loadError(code, why, cause) {
  const text = `websocket-relay cannot load its native addon: ${why}.\n${howToBuild()}`;
  return Object.assign(new Error(text, { cause }), { code });
}

function howToBuild() {
  if (existsSync(join(__dirname, 'Cargo.toml'))) return `Build it with: cd ${__dirname} && npm run build`;
  const { version, homepage } = require('./package.json');
  return [
    'Build it with Rust (https://rustup.rs/) and install the result:',
    `  git clone ${homepage.replace('#readme', '')} && (cd websocket-relay && npm pack)`,
    `  npm install ./websocket-relay/websocket-relay-${version}.tgz`,
  ].join('\n');
}
