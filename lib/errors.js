'use strict';

const os = require('node:os');
const { getSystemErrorMap } = require('node:util');

/** What a client did wrong, or what went wrong with it. As text it is its message alone, as 0.3.3 had it. */
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
 * The error that Node's own servers emit when a port cannot be opened.
 * @param {number | undefined} number the system's
 * @param {string} text the system's
 * @param {string} address
 * @param {number} port
 */
function listenError(number, text, address, port) {
  const known = Object.entries(os.constants.errno).find(([, value]) => value === number);
  // Windows names them WSAEADDRINUSE and so on.
  const code = known ? known[0].replace(/^WSA/, '') : 'UNKNOWN';
  const entry = [...getSystemErrorMap()].find(([, [name]]) => name === code);
  const [errno, [, description]] = entry ?? [number, [code, text]];
  const error = new Error(`listen ${code}: ${description} ${address}${port ? `:${port}` : ''}`);
  return Object.assign(error, { errno, code, syscall: 'listen', address }, port ? { port } : {});
}

module.exports = { RelayError, listenError };
