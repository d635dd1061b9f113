'use strict';

const { existsSync } = require('node:fs');
const { join } = require('node:path');
const binaryName = require('./lib/binary-name.js');

const file = join(__dirname, binaryName());

module.exports = load();

function load() {
  if (!existsSync(file)) {
    throw Object.assign(new Error(`websocket-relay has no native addon for this platform: ${file} is missing.\n${howToBuild()}`), {
      code: 'ERR_NATIVE_NOT_FOUND',
    });
  }
  try {
    return require(file);
  } catch (error) {
    // Made for another C library, most often: the same commands help.
    error.message += `\n${howToBuild()}`;
    throw error;
  }
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
