'use strict';

// Checks what the developer gave, so that a mistake is named at the call that made it.

const { inspect } = require('node:util');

const PORT_MAX = 65535;
const KNOWN = new Set(['port', 'host', 'authorizeAllChannels']);

/**
 * @param {unknown} options as given to `new RelayServer()`
 * @param {{ name: string, unit: string, min: number, max: number }[]} limits every option that is a number, but for the port
 * @returns {{ port: number, host: string | undefined, authorizeAllChannels: boolean,
 *   settings: { name: string, value: number }[] }}
 */
function checkOptions(options, limits) {
  if (typeof options !== 'object' || options === null) throw typeError('options', 'an object', options);
  const given = /** @type {Record<string, unknown>} */ (options);
  const { host, authorizeAllChannels = false } = given;
  if (host !== undefined && (typeof host !== 'string' || host === '')) {
    throw typeError('options.host', 'a host name or an IP address', host);
  }
  if (typeof authorizeAllChannels !== 'boolean') {
    throw typeError('options.authorizeAllChannels', 'a boolean', authorizeAllChannels);
  }
  const settings = [];
  for (const { name, unit, min, max } of limits) {
    const value = given[name];
    if (value === undefined) continue;
    settings.push({ name, value: integer(`options.${name}`, value, min, max, unit) });
  }
  warnOfUnknown(given, limits);
  return { port: checkPort(given.port), host, authorizeAllChannels, settings };
}

/** A number, or one in digits, as environment variables hold it. */
function checkPort(/** @type {unknown} */ port) {
  const value = typeof port === 'string' && /^\d+$/.test(port) ? Number(port) : port;
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
      process.emitWarning(`RelayServer has no option '${name}'; it is ignored`, {
        code: 'WEBSOCKET_RELAY_UNKNOWN_OPTION',
      });
    }
  }
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

/** @param {unknown} value */
function shown(value) {
  const text = inspect(value, { depth: 0, breakLength: Infinity });
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}

module.exports = { checkOptions, checkCallback, checkClientId };
