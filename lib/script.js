'use strict';

// The client for browsers, as the port serves it.

const { createHash } = require('node:crypto');
const { readFileSync } = require('node:fs');
const { join } = require('node:path');
const { gzipSync } = require('node:zlib');

const FILE = join(__dirname, '../dist/websocket_relay.min.js');

/** @type {{ plain: Buffer, gzip: Buffer, hash: string } | undefined} */
let script;

/** Read and compressed once for all servers. Nothing where it was not compiled. */
module.exports = function browserScript() {
  try {
    script ??= packed(readFileSync(FILE));
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
  }
  return script;
};

/** @param {Buffer} plain */
function packed(plain) {
  const hash = createHash('sha256').update(plain).digest('base64url');
  return { plain, gzip: gzipSync(plain, { level: 9 }), hash };
}
