'use strict';

// Checks the options of `new RelayServer()`, so that a mistake throws at the call that made it.

const { emitWarning } = require('node:process');
const { URL } = require('node:url');
const { checkAccess } = require('./access-options.js');
const { conflictError, describe, integer, typeError } = require('./argument-errors.js');
const { checkStore } = require('./store-options.js');
const tls = require('./tls-options.js');

const MAX_PORT = 65535;

/** Spaces are percent-encoded in a URL; other white space and control characters are dropped from it. */
const PATH = /^\/[^?#\x00-\x1f\x7f]*$/; // eslint-disable-line no-control-regex

/** Options other than the numeric limits, which the engine lists. */
const KNOWN = new Set([
  'port', 'host', 'server', 'noServer', 'path', 'serveClient', 'authorizeAllChannels', 'signal', 'metrics',
  'allowedOrigins', 'verifyClient', 'trustProxy', 'store', ...tls.OPTIONS,
]);

/**
 * @param {unknown} options the options of `new RelayServer()`
 * @param {{ name: string, unit: string, min: number, max: number }[]} limits every numeric option except the port
 * @returns {{ port: number | undefined, server: import('node:http').Server | undefined, host: string | undefined,
 *   path: string | undefined, serveClient: boolean, authorizeAllChannels: boolean, settings: { name: string, value: number }[],
 *   credentials: ReturnType<typeof tls.checkCredentials>, signal: AbortSignal | undefined, metrics: boolean,
 *   access: ReturnType<typeof checkAccess>, store: ReturnType<typeof checkStore> }} `settings` has the limits that were given
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
  const settings = checkLimits(given, limits);
  warnOfUnknown(given, limits);
  if (place.port === undefined) warnOfUnused(given);
  const credentials = tls.checkCredentials(given);
  if (credentials && place.port === undefined) {
    throw conflictError('cert and key require port; with server and noServer, configure TLS on the server itself');
  }
  return {
    ...place,
    host,
    path: path === undefined ? undefined : encodePath(path),
    serveClient,
    authorizeAllChannels,
    metrics,
    settings,
    credentials,
    signal: checkSignal(given.signal),
    access: checkAccess(given),
    store: checkStore(given.store),
  };
}

/**
 * @param {Record<string, unknown>} options
 * @param {{ name: string, unit: string, min: number, max: number }[]} limits
 */
function checkLimits(options, limits) {
  const given = limits.filter(({ name }) => options[name] !== undefined);
  return given.map(({ name, unit, min, max }) => ({ name, value: integer(`options.${name}`, options[name], min, max, unit) }));
}

/** Returns a path as requests contain it: `/relé` becomes `/rel%C3%A9`, `/a/../b` becomes `/b`. @param {string} path */
function encodePath(path) {
  // Spaces first: trailing ones are dropped from a URL.
  return new URL(`ws://localhost${path.replaceAll(' ', '%20')}`).pathname;
}

/** Checks that exactly one of `port`, `server` and `noServer` is given. @param {Record<string, unknown>} options */
function checkPlace({ port, server, noServer = false }) {
  if (typeof noServer !== 'boolean') throw typeError('options.noServer', 'a boolean', noServer);
  const names = ['port', 'server', 'noServer'].filter((_, n) => [port, server, noServer || null][n] != null);
  if (names.length > 1) {
    throw conflictError(`exactly one of port, server and noServer may be given; received ${names.join(' and ')}`);
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

/** Accepts a string of digits too, for ports from environment variables. @param {unknown} port */
function checkPort(port) {
  const value = typeof port === 'string' && /^\d+$/.test(port) ? Number(port) : port;
  if (port == null) throw typeError('options.port', `an integer from 0 to ${MAX_PORT} unless server or noServer is given`, port);
  return integer('options.port', value, 0, MAX_PORT);
}

/** @param {Record<string, unknown>} options @param {{ name: string }[]} limits */
function warnOfUnknown(options, limits) {
  for (const name of Object.keys(options)) {
    if (KNOWN.has(name) || limits.some((limit) => limit.name === name)) continue;
    emitWarning(`RelayServer has no option ${describe(name)}; it is ignored`, { code: 'WEBSOCKET_RELAY_UNKNOWN_OPTION' });
  }
}

/** Warns of options that require a port. A falsy one turns off what is off anyway. @param {Record<string, unknown>} options */
function warnOfUnused(options) {
  for (const name of ['host', 'serveClient', 'metrics', 'maxHeaderSize'].filter((name) => options[name])) {
    emitWarning(`the option ${name} applies only with port; it is ignored`, { code: 'WEBSOCKET_RELAY_UNUSED_OPTION' });
  }
}

/** @param {unknown} signal */
function checkSignal(signal) {
  if (signal === undefined) return signal;
  const { aborted, addEventListener, removeEventListener } = /** @type {any} */ (Object(signal));
  const isTarget = typeof addEventListener === 'function' && typeof removeEventListener === 'function';
  if (isTarget && typeof aborted === 'boolean') return /** @type {AbortSignal} */ (signal);
  throw typeError('options.signal', 'an AbortSignal', signal);
}

module.exports = { checkOptions };
