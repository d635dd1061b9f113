'use strict';

const os = require('node:os');
const { getSystemErrorMap } = require('node:util');

/** The `name`s of errors, by code. */
const NAMES = {
  ERR_CLIENT_NOT_FOUND: 'ClientNotFoundException',
  ERR_CLIENT_EXISTS: 'ClientExistsException',
  ERR_CHANNEL_EXISTS: 'ClientsAlreadyHaveChannel',
  ERR_CHANNEL_NOT_FOUND: 'ClientsHaveNoChannel',
};

/** A client's mistake, or a failure of the relay. Converted to a string it is only its message, as in 0.3.3. */
class RelayError extends Error {
  /** @param {string} code @param {string} message @param {number | undefined} clientId */
  constructor(code, message, clientId) {
    super(message);
    this.code = code;
    if (clientId !== undefined) this.clientId = clientId;
  }

  toString() {
    return this.message;
  }
}
Object.defineProperty(RelayError.prototype, 'name', { value: 'RelayError', configurable: true, writable: true });

/**
 * Returns the error that Node's own servers emit when a port cannot be opened.
 * @param {number | undefined} number the system's error number
 * @param {string} text the system's description
 * @param {string} address
 * @param {number} port
 */
function listenError(number, text, address, port) {
  const known = Object.entries(os.constants.errno).find(([, value]) => value === number);
  // On Windows the names are WSAEADDRINUSE and so on.
  const code = known ? known[0].replace(/^WSA/, '') : 'UNKNOWN';
  const entry = [...getSystemErrorMap()].find(([, [name]]) => name === code);
  const [errno, [, description]] = entry ?? [number, [code, text]];
  const error = new Error(`listen ${code}: ${description} ${address}${port ? `:${port}` : ''}`);
  return Object.assign(error, { errno, code, syscall: 'listen', address }, port ? { port } : {});
}

/**
 * Calls the addon. Its errors belong to the realm that loaded it first, so they are thrown again as errors of this one.
 * @template T
 * @param {() => T} call
 * @returns {T}
 */
function callNative(call) {
  try {
    return call();
  } catch (error) {
    const { message, code } = error;
    const name = NAMES[code];
    throw Object.assign(new Error(message), { code }, name ? { name } : {});
  }
}

/** Whether an error says that a store cannot be used. @param {any} error */
function isStoreError(error) {
  return typeof error?.code === 'string' && error.code.startsWith('ERR_STORE_');
}

/** Returns an error with the same text and code, and a stack of its own. @param {any} error */
function copyError({ message, code }) {
  return Object.assign(new Error(message), { code });
}

module.exports = { RelayError, callNative, copyError, isStoreError, listenError };
