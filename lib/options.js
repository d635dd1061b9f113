'use strict';

// Checks what the developer gave, so that a mistake is named at the call that made it.

const { Buffer } = require('node:buffer');
const { emitWarning } = require('node:process');
const { URL } = require('node:url');
const { inspect, types } = require('node:util');
const { checkOrigins, checkTrust } = require('./verifier.js');
const { printable } = require('./printable.js');
const tls = require('./tls-options.js');

const PORT_MAX = 65535;
/** What the reason of a WebSocket close has room for, in bytes of UTF-8. */
const REASON_MAX = 123;
/** Spaces are percent-encoded in a URL; other white space and control characters are dropped from it. */
const PATH = /^\/[^?#\x00-\x1f\x7f]*$/; // eslint-disable-line no-control-regex
const ACCESS = ['allowedOrigins', 'verifyClient', 'trustProxy', 'metrics'];
const KNOWN = new Set(['port', 'host', 'server', 'noServer', 'path', 'serveClient', 'authorizeAllChannels', 'signal', ...tls.OPTIONS, ...ACCESS]);

/**
 * @param {unknown} options as given to `new RelayServer()`
 * @param {{ name: string, unit: string, min: number, max: number }[]} limits every option that is a number, but for the port
 * @returns {{ port: number | undefined, server: import('node:http').Server | undefined, host: string | undefined,
 *   path: string | undefined, serveClient: boolean, authorizeAllChannels: boolean, settings: { name: string, value: number }[],
 *   credentials: ReturnType<typeof tls.checkCredentials>, signal: AbortSignal | undefined, metrics: boolean,
 *   access: ReturnType<typeof checkAccess> }}
 */
function checkOptions(options, limits) {
  if (typeof options !== 'object' || options === null) throw typeError('options', 'an object', options);
  const given = /** @type {Record<string, unknown>} */ (options);
  const { host, path, serveClient = true, authorizeAllChannels = false, metrics = false } = given;
  const place = checkPlace(given);
  if (host !== undefined && (typeof host !== 'string' || host === '')) {
    throw typeError('options.host', 'a host name or an IP address', host);
  }
  if (path !== undefined && (typeof path !== 'string' || !PATH.test(path))) {
    throw typeError('options.path', "a path that begins with '/', without a query", path);
  }
  for (const [name, value] of Object.entries({ authorizeAllChannels, serveClient, metrics })) {
    if (typeof value !== 'boolean') throw typeError(`options.${name}`, 'a boolean', value);
  }
  const settings = [];
  for (const { name, unit, min, max } of limits) {
    const value = given[name];
    if (value === undefined) continue;
    settings.push({ name, value: integer(`options.${name}`, value, min, max, unit) });
  }
  warnOfUnknown(given, limits);
  if (place.port === undefined) warnOfUnused({ host, serveClient: given.serveClient, metrics: given.metrics, maxHeaderSize: given.maxHeaderSize });
  const credentials = tls.checkCredentials(given);
  if (credentials && place.port === undefined) {
    const error = new TypeError('cert and key are for a port of its own: with server and noServer, TLS is that of the server');
    throw Object.assign(error, { code: 'ERR_INVALID_ARG_VALUE' });
  }
  return {
    ...place,
    host,
    path: path === undefined ? undefined : pathOfUrl(path),
    serveClient,
    authorizeAllChannels,
    metrics,
    settings,
    credentials,
    signal: checkSignal(given.signal),
    access: checkAccess(given),
  };
}

/** A path as it is in a URL, and so in requests: `/relé` is `/rel%C3%A9`, `/a/../b` is `/b`. @param {string} path */
function pathOfUrl(path) {
  // Where a URL ends with spaces they are dropped.
  return new URL(`ws://localhost${path.replaceAll(' ', '%20')}`).pathname;
}

/** Who may come. @param {Record<string, unknown>} options */
function checkAccess({ allowedOrigins, verifyClient, trustProxy }) {
  if (verifyClient !== undefined && typeof verifyClient !== 'function') {
    throw typeError('options.verifyClient', 'a function', verifyClient);
  }
  const { origins, isOriginAllowed } = checkOrigins(allowedOrigins, typeError);
  return { origins, isOriginAllowed, verifyClient, ...checkTrust(trustProxy, typeError, rangeError) };
}

/** Where it is to be reached: exactly one of three. @param {Record<string, unknown>} options */
function checkPlace({ port, server, noServer = false }) {
  if (typeof noServer !== 'boolean') throw typeError('options.noServer', 'a boolean', noServer);
  const names = ['port', 'server', 'noServer'].filter((_, n) => [port, server, noServer || null][n] != null);
  if (names.length > 1) {
    const error = new TypeError(`exactly one of port, server and noServer may be given; received ${names.join(' and ')}`);
    throw Object.assign(error, { code: 'ERR_INVALID_ARG_VALUE' });
  }
  if (names[0] === 'noServer') return { port: undefined, server: undefined };
  if (names[0] === 'server') return { port: undefined, server: checkServer(server) };
  return { port: checkPort(port), server: undefined };
}

/** @param {unknown} server */
function checkServer(server) {
  const { on, address, listening } = /** @type {any} */ (server);
  const isServer = typeof server === 'object' && typeof on === 'function' && typeof address === 'function';
  if (isServer && typeof listening === 'boolean') return server;
  throw typeError('options.server', 'an http.Server or https.Server (what app.listen() returns)', server);
}

/** A number, or one in digits, as environment variables hold it. */
function checkPort(/** @type {unknown} */ port) {
  const value = typeof port === 'string' && /^\d+$/.test(port) ? Number(port) : port;
  if (port == null) throw typeError('options.port', `an integer from 0 to ${PORT_MAX}, or server or noServer be given`, port);
  return integer('options.port', value, 0, PORT_MAX);
}

/**
 * @param {string} name
 * @param {unknown} value
 * @param {number} min
 * @param {number} max
 * @param {string} [unit]
 */
function integer(name, value, min, max, unit) {
  const expected = `an integer from ${min} to ${max}${unit ? ` (${unit})` : ''}`;
  if (typeof value !== 'number') throw typeError(name, expected, value);
  if (!Number.isInteger(value) || value < min || value > max) throw rangeError(name, expected, value);
  return value;
}

/** @param {Record<string, unknown>} options @param {{ name: string }[]} limits */
function warnOfUnknown(options, limits) {
  for (const name of Object.keys(options)) {
    if (!KNOWN.has(name) && !limits.some((limit) => limit.name === name)) {
      emitWarning(`RelayServer has no option ${shown(name)}; it is ignored`, {
        code: 'WEBSOCKET_RELAY_UNKNOWN_OPTION',
      });
    }
  }
}

/** Those that are for a port of its own, where there is none. What is `false` is as it would be. @param {Record<string, unknown>} options */
function warnOfUnused(options) {
  for (const name of Object.keys(options).filter((name) => options[name])) {
    emitWarning(`RelayServer has no use for the option ${name} with server and noServer; it is ignored`, {
      code: 'WEBSOCKET_RELAY_UNUSED_OPTION',
    });
  }
}

/** How long clients are asked to stay away at most, in milliseconds, unless `close()` is told otherwise. */
const RETRY_AFTER = 5000;
const LONGEST_TIMER = 2 ** 31 - 1;

/**
 * @param {unknown} options as given to `close()`
 * @returns {{ timeout: number, retryAfter: number } | undefined} how to drain, if it is to be done
 */
function checkCloseOptions(options) {
  if (options === undefined) return undefined;
  if (typeof options !== 'object' || options === null) throw typeError('options', 'an object', options);
  const { timeout, retryAfter = RETRY_AFTER } = /** @type {Record<string, unknown>} */ (options);
  if (timeout === undefined) return undefined;
  return {
    timeout: integer('options.timeout', timeout, 0, LONGEST_TIMER, 'milliseconds'),
    retryAfter: integer('options.retryAfter', retryAfter, 0, LONGEST_TIMER, 'milliseconds'),
  };
}

/** @param {unknown} signal */
function checkSignal(signal) {
  if (signal === undefined) return signal;
  const { aborted, addEventListener, removeEventListener } = /** @type {any} */ (Object(signal));
  const isTarget = typeof addEventListener === 'function' && typeof removeEventListener === 'function';
  if (isTarget && typeof aborted === 'boolean') return /** @type {AbortSignal} */ (signal);
  throw typeError('options.signal', 'an AbortSignal', signal);
}

/** @param {any} request that an http server has read */
function checkRequest(request) {
  if (typeof request?.url !== 'string') throw typeError('request', 'an http.IncomingMessage', request);
}

/** @param {any} request @param {any} socket @param {unknown} head the arguments of 'upgrade' */
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
 * Throws what 0.3.3 threw for an id that is nobody's, as a TypeError or RangeError for what cannot be an id at all.
 * @param {string} name
 * @param {unknown} id
 */
function checkClientId(name, id) {
  if (typeof id === 'number' && Number.isSafeInteger(id) && id >= 0) return;
  const Kind = typeof id === 'number' ? RangeError : TypeError;
  const error = new Kind(`${name} must be the id of an existing client; received ${shown(id)}`);
  throw Object.assign(error, { name: 'ClientNotFoundException', code: 'ERR_CLIENT_NOT_FOUND' });
}

/**
 * The ids of a room: of any iterable, each once.
 * @param {unknown} ids
 * @returns {number[]}
 */
function checkClientIds(ids) {
  if (typeof ids !== 'object' || ids === null || !(Symbol.iterator in ids)) {
    throw typeError('clientIds', 'an iterable of client ids', ids);
  }
  const list = [...new Set(/** @type {Iterable<number>} */ (ids))];
  list.forEach((id, place) => checkClientId(`clientIds[${place}]`, id));
  return list;
}

/**
 * @param {unknown} options of a registration
 * @returns {{ expiresIn: number | undefined, data: unknown }}
 */
function checkLife(options) {
  if (options === undefined) return { expiresIn: undefined, data: undefined };
  if (typeof options !== 'object' || options === null) throw typeError('options', 'an object', options);
  const { expiresIn, data } = /** @type {{ expiresIn?: unknown, data?: unknown }} */ (options);
  if (expiresIn === undefined) return { expiresIn, data };
  return { expiresIn: integer('options.expiresIn', expiresIn, 1, Number.MAX_SAFE_INTEGER, 'milliseconds'), data };
}

/** @param {unknown} code @param {unknown} reason what a connection is to be closed with */
function checkClose(code, reason) {
  const expected = '1000 or an integer from 3000 to 4999';
  if (typeof code !== 'number') throw typeError('code', expected, code);
  if (code !== 1000 && !(Number.isInteger(code) && code >= 3000 && code <= 4999)) throw rangeError('code', expected, code);
  if (typeof reason !== 'string') throw typeError('reason', 'a string', reason);
  if (Buffer.byteLength(reason) > REASON_MAX) throw rangeError('reason', `at most ${REASON_MAX} bytes of UTF-8`, reason);
}

/** @param {string} name @param {string} expected @param {unknown} value */
function typeError(name, expected, value) {
  const error = new TypeError(`${name} must be ${expected}; received ${shown(value)}`);
  return Object.assign(error, { code: 'ERR_INVALID_ARG_TYPE' });
}

/** @param {string} name @param {string} expected @param {unknown} value */
function rangeError(name, expected, value) {
  const error = new RangeError(`${name} must be ${expected}; received ${shown(value)}`);
  return Object.assign(error, { code: 'ERR_OUT_OF_RANGE' });
}

/** A value for an error's text: shortly, and without what may be a token. @param {unknown} value */
function shown(value) {
  const text = printable(inspect(value, { depth: 0, breakLength: Infinity }).replace(/[0-9a-f]{32,}/gi, '[redacted]'));
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}

module.exports = {
  checkOptions,
  checkCloseOptions,
  checkCallback,
  checkClientId,
  checkClientIds,
  checkClose,
  checkLife,
  checkRequest,
  checkUpgrade,
};
