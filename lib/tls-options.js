'use strict';

// The TLS options, which are those of https.createServer().

const { Buffer } = require('node:buffer');
const { isAnyArrayBuffer } = require('node:util').types;
const { secretTypeError } = require('./argument-errors.js');

const OPTIONS = ['cert', 'key', 'ca', 'passphrase', 'requestCert'];

/**
 * Returns the credentials, or `undefined` if no TLS option is given.
 * @param {Record<string, unknown>} options
 * @returns {{ certs: Buffer[], keys: Buffer[], ca: Buffer[], passphrase: string | undefined, requestCert: boolean }
 *   | undefined}
 */
function checkCredentials(options) {
  if (OPTIONS.every((name) => options[name] === undefined || options[name] === null)) return undefined;
  const { cert, key, ca, passphrase, requestCert = false } = options;
  if (passphrase !== undefined && passphrase !== null && typeof passphrase !== 'string') {
    throw secretTypeError('options.passphrase', 'a string', passphrase);
  }
  if (typeof requestCert !== 'boolean') throw secretTypeError('options.requestCert', 'a boolean', requestCert);
  return {
    certs: pems('options.cert', cert),
    keys: pems('options.key', key),
    ca: ca === undefined || ca === null ? [] : pems('options.ca', ca),
    passphrase: passphrase ?? undefined,
    requestCert,
  };
}

/** Returns PEM texts as buffers. @param {string} name @param {unknown} value */
function pems(name, value) {
  const list = Array.isArray(value) ? value : [value];
  return list.map((pem) => {
    if (typeof pem === 'string') return Buffer.from(pem);
    if (ArrayBuffer.isView(pem)) return Buffer.from(pem.buffer, pem.byteOffset, pem.byteLength);
    if (isAnyArrayBuffer(pem)) return Buffer.from(pem);
    throw secretTypeError(name, 'PEM as a string or a Buffer, or an array of these', pem);
  });
}

module.exports = { OPTIONS, checkCredentials };
