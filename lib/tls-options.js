'use strict';

// The options of TLS, as https.createServer() takes them.

const { Buffer } = require('node:buffer');
const { isAnyArrayBuffer } = require('node:util').types;

const OPTIONS = ['cert', 'key', 'ca', 'passphrase', 'requestCert'];

/**
 * What TLS is to be spoken with, or `undefined` where nothing of it is given.
 * @param {Record<string, unknown>} options
 * @returns {{ certs: Buffer[], keys: Buffer[], ca: Buffer[], passphrase: string | undefined, requestCert: boolean }
 *   | undefined}
 */
function checkCredentials(options) {
  if (OPTIONS.every((name) => options[name] === undefined || options[name] === null)) return undefined;
  const { cert, key, ca, passphrase, requestCert = false } = options;
  if (passphrase !== undefined && passphrase !== null && typeof passphrase !== 'string') {
    throw typeError('options.passphrase', 'a string', passphrase);
  }
  if (typeof requestCert !== 'boolean') throw typeError('options.requestCert', 'a boolean', requestCert);
  return {
    certs: pems('options.cert', cert),
    keys: pems('options.key', key),
    ca: ca === undefined || ca === null ? [] : pems('options.ca', ca),
    passphrase: passphrase ?? undefined,
    requestCert,
  };
}

/** @param {string} name @param {unknown} value */
function pems(name, value) {
  const list = Array.isArray(value) ? value : [value];
  return list.map((pem) => {
    if (typeof pem === 'string') return Buffer.from(pem);
    if (ArrayBuffer.isView(pem)) return Buffer.from(pem.buffer, pem.byteOffset, pem.byteLength);
    if (isAnyArrayBuffer(pem)) return Buffer.from(pem);
    throw typeError(name, 'PEM as a string or a Buffer, or an array of these', pem);
  });
}

/** Without the value: it may be a secret in the wrong place. */
function typeError(/** @type {string} */ name, /** @type {string} */ expected, /** @type {unknown} */ value) {
  const error = new TypeError(`${name} must be ${expected}; received ${value === null ? 'null' : typeof value}`);
  return Object.assign(error, { code: 'ERR_INVALID_ARG_TYPE' });
}

module.exports = { OPTIONS, checkCredentials };
