'use strict';

// The browser client, as the relay's port serves it.

const { createHash } = require('node:crypto');
const { readFileSync } = require('node:fs');
const { join } = require('node:path');
const { gzipSync } = require('node:zlib');

const FILE = join(__dirname, '../dist/websocket_relay.min.js');

/** @typedef {{ plain: Buffer, gzip: Buffer, hash: string }} Asset */

/** @type {{ script: Asset | undefined, sourceMap: Asset | undefined } | undefined} */
let client;

/** Returns the script and its source map, read and compressed once for all servers; `undefined` if not compiled. */
module.exports = function browserClient() {
  client ??= { script: load(FILE), sourceMap: load(`${FILE}.map`) };
  return client;
};

/** @param {string} file @returns {Asset | undefined} */
function load(file) {
  try {
    const plain = readFileSync(file);
    const hash = createHash('sha256').update(plain).digest('base64url');
    return { plain, gzip: gzipSync(plain, { level: 9 }), hash };
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
    return undefined;
  }
}
