'use strict';

// Checks the arguments of RelayServer's methods, so that a mistake throws at the call that made it.

const { Buffer } = require('node:buffer');
const { types } = require('node:util');
const { conflictError, describe, integer, rangeError, secretTypeError, typeError } = require('./argument-errors.js');
const { MAX_REGISTERED_AT_ONCE } = require('./engine.js');

/** Longest reason of a WebSocket close frame, in bytes of UTF-8. */
const MAX_REASON_BYTES = 123;

/** Default of `close({ retryAfter })`, in milliseconds. */
const DEFAULT_RETRY_AFTER = 5000;

/** Longest delay of a timer, in milliseconds. */
const MAX_DELAY = 2 ** 31 - 1;

/**
 * @param {unknown} options the options of `close()`
 * @returns {{ timeout: number, retryAfter: number } | undefined} how to drain, or `undefined` to close at once
 */
function checkCloseOptions(options) {
  if (options === undefined) return undefined;
  if (typeof options !== 'object' || options === null) throw typeError('options', 'an object', options);
  const { timeout, retryAfter = DEFAULT_RETRY_AFTER } = /** @type {Record<string, unknown>} */ (options);
  if (timeout === undefined) return undefined;
  return {
    timeout: integer('options.timeout', timeout, 0, MAX_DELAY, 'milliseconds'),
    retryAfter: integer('options.retryAfter', retryAfter, 0, MAX_DELAY, 'milliseconds'),
  };
}

/** @param {any} request */
function checkRequest(request) {
  if (typeof request?.url !== 'string') throw typeError('request', 'an http.IncomingMessage', request);
}

/** Checks the arguments of an 'upgrade' listener. @param {any} request @param {any} socket @param {unknown} head */
function checkUpgrade(request, socket, head) {
  checkRequest(request);
  const isSocket = typeof socket?.on === 'function' && typeof socket.destroy === 'function';
  if (!isSocket) throw typeError('socket', 'a stream.Duplex', socket);
  if (head !== undefined && !types.isUint8Array(head)) throw typeError('head', 'a Buffer', head);
}

/** @param {unknown} callback */
function checkCallback(callback) {
  if (callback !== undefined && typeof callback !== 'function') throw typeError('callback', 'a function', callback);
}

/**
 * Throws the error that 0.3.3 threw for an unknown id, as a TypeError or RangeError, if the value cannot be an id.
 * @param {string} name
 * @param {unknown} id
 */
function checkClientId(name, id) {
  if (typeof id === 'number' && Number.isSafeInteger(id) && id >= 0) return;
  const Kind = typeof id === 'number' ? RangeError : TypeError;
  const error = new Kind(`${name} must be the id of an existing client; received ${describe(id)}`);
  throw Object.assign(error, { name: 'ClientNotFoundException', code: 'ERR_CLIENT_NOT_FOUND' });
}

/**
 * Returns the ids without duplicates.
 * @param {unknown} ids an iterable
 * @returns {number[]}
 */
function checkClientIds(ids) {
  if (typeof ids !== 'object' || ids === null || !(Symbol.iterator in ids)) {
    throw typeError('clientIds', 'an iterable of client ids', ids);
  }
  const list = [...new Set(/** @type {Iterable<number>} */ (ids))];
  list.forEach((id, index) => checkClientId(`clientIds[${index}]`, id));
  return list;
}

/**
 * @param {unknown} options the options of `registerClient()` and `refreshToken()`
 * @returns {{ id: number | undefined, token: string | undefined, expiresIn: number | undefined, data: unknown }} `expiresIn` in
 *   milliseconds
 */
function checkRegistrationOptions(options = {}) {
  if (typeof options !== 'object' || options === null) throw typeError('options', 'an object', options);
  const { id, token, expiresIn, data } = /** @type {Record<string, unknown>} */ (options);
  return {
    id: id === undefined ? id : integer('options.id', id, 0, Number.MAX_SAFE_INTEGER),
    token: checkToken(token),
    expiresIn: expiresIn === undefined ? expiresIn : integer('options.expiresIn', expiresIn, 1, Number.MAX_SAFE_INTEGER, 'milliseconds'),
    data,
  };
}

/**
 * @param {unknown} count
 * @param {unknown} options the options of `registerClients()`
 * @returns {{ count: number, expiresIn: number | undefined }}
 */
function checkRegistrations(count, options) {
  const checked = { count: integer('count', count, 1, MAX_REGISTERED_AT_ONCE, 'clients'), ...checkRegistrationOptions(options) };
  const ofOne = ['id', 'token', 'data'].find((name) => checked[name] !== undefined);
  if (ofOne) throw conflictError(`options.${ofOne} is for one client: call registerClient() for each`);
  return checked;
}

/** Checks a token without showing it. @param {unknown} token */
function checkToken(token) {
  if (token === undefined) return token;
  const expected = 'a string of 32 lower-case hex digits';
  if (typeof token !== 'string') throw secretTypeError('options.token', expected, token);
  if (!/^[0-9a-f]{32}$/.test(token)) throw conflictError(`options.token must be ${expected}; received another string`);
  return token;
}

/**
 * Returns `data` as the JSON that a store keeps.
 * @param {unknown} data
 * @returns {string}
 */
function checkStoredData(data) {
  let json;
  try {
    json = JSON.stringify(data);
  } catch (cause) {
    throw Object.assign(notStorable(data), { cause });
  }
  if (json === undefined) throw notStorable(data);
  return json;
}

/** @param {unknown} data */
function notStorable(data) {
  return typeError('options.data', 'a value that JSON.stringify() can write, because the server has a store', data);
}

/** Checks the code and reason of a close frame. @param {unknown} code @param {unknown} reason */
function checkClose(code, reason) {
  const expected = '1000 or an integer from 3000 to 4999';
  if (typeof code !== 'number') throw typeError('code', expected, code);
  if (code !== 1000 && !(Number.isInteger(code) && code >= 3000 && code <= 4999)) throw rangeError('code', expected, code);
  if (typeof reason !== 'string') throw typeError('reason', 'a string', reason);
  if (Buffer.byteLength(reason) > MAX_REASON_BYTES) throw rangeError('reason', `at most ${MAX_REASON_BYTES} bytes of UTF-8`, reason);
}

module.exports = {
  DEFAULT_RETRY_AFTER,
  checkCallback,
  checkClientId,
  checkClientIds,
  checkClose,
  checkCloseOptions,
  checkRegistrationOptions,
  checkRegistrations,
  checkRequest,
  checkStoredData,
  checkUpgrade,
};
