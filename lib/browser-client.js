'use strict';

// The client for browsers, as the port serves it.

const { createHash } = require('node:crypto');
const { readFileSync } = require('node:fs');
const { join } = require('node:path');
const { gzipSync } = require('node:zlib');

const FILE = join(__dirname, '../dist/websocket_relay.min.js');

/** @typedef {{ plain: Buffer, gzip: Buffer, hash: string }} Packed */

/** @type {{ script: Packed | undefined, sourceMap: Packed | undefined } | undefined} */
let client;

/** The script and its source map, read and compressed once for all servers. Nothing where they were not compiled. */
module.exports = function browserClient() {
  client ??= { script: packed(FILE), sourceMap: packed(`${FILE}.map`) };
  return client;
};

/** @param {string} file @returns {Packed | undefined} */
function packed(file) {
  try {
    const plain = readFileSync(file);
    const hash = createHash('sha256').update(plain).digest('base64url');
    return { plain, gzip: gzipSync(plain, { level: 9 }), hash };
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
    return undefined;
  }
}
