'use strict';

// The options that decide who may connect: `allowedOrigins`, `verifyClient` and `trustProxy`.

const { URL } = require('node:url');
const { isRegExp } = require('node:util').types;
const { rangeError, typeError } = require('./argument-errors.js');
const { isNetwork } = require('./engine.js');

/** Networks that have a name, the same names as in Express. */
const NAMED_NETWORKS = {
  loopback: ['127.0.0.1/8', '::1/128'],
  linklocal: ['169.254.0.0/16', 'fe80::/10'],
  uniquelocal: ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7'],
};

/** Longest chain of proxies that `trustProxy` may name as a number. */
const MAX_HOPS = 255;

/** @param {Record<string, unknown>} options the options of `new RelayServer()` */
function checkAccess({ allowedOrigins, verifyClient, trustProxy }) {
  if (verifyClient !== undefined && typeof verifyClient !== 'function') {
    throw typeError('options.verifyClient', 'a function', verifyClient);
  }
  return { ...checkOrigins(allowedOrigins), verifyClient, trust: checkTrust(trustProxy) };
}

/**
 * Returns the allowed origins as a list if all are strings, which the engine compares by itself, and as a function
 * otherwise.
 * @param {unknown} value
 * @returns {{ origins: string[] | undefined,
 *   isOriginAllowed: ((origin: string | undefined, info: import('./verifier.js').ClientInfo) => unknown) | undefined }}
 */
function checkOrigins(value) {
  if (value === undefined) return { origins: undefined, isOriginAllowed: undefined };
  if (typeof value === 'function') return { origins: undefined, isOriginAllowed: (origin, info) => value(origin, info) };
  const list = Array.isArray(value) ? value : [value];
  list.forEach((entry, index) => {
    if (isRegExp(entry) || (typeof entry === 'string' && isOrigin(entry))) return;
    const name = Array.isArray(value) ? `options.allowedOrigins[${index}]` : 'options.allowedOrigins';
    throw typeError(name, "an origin such as 'https://example.com', without a path, a RegExp, a function, or an array of the first two", entry);
  });
  if (list.every((entry) => typeof entry === 'string')) return { origins: list, isOriginAllowed: undefined };
  const texts = new Set(list.filter((entry) => typeof entry === 'string').map((text) => text.toLowerCase()));
  const patterns = list.filter((entry) => isRegExp(entry));
  const isOriginAllowed = (/** @type {string | undefined} */ origin) =>
    // `search()`, because `test()` of a global RegExp continues at its `lastIndex`.
    origin !== undefined && (texts.has(origin.toLowerCase()) || patterns.some((pattern) => origin.search(pattern) >= 0));
  return { origins: undefined, isOriginAllowed };
}

/** Whether a text is an origin as browsers send it. @param {string} text */
function isOrigin(text) {
  if (text === 'null') return true;
  // A regular expression, because `new URL('chrome-extension://…').origin` is 'null'.
  return /^[a-z][a-z0-9+.-]*:\/\/[^/?#\s@]+$/i.test(text) && URL.canParse(text);
}

/**
 * @param {unknown} value
 * @returns {{ trustsAll: boolean, trustedHops: number, trustedNetworks: string[] }}
 */
function checkTrust(value) {
  const none = { trustsAll: false, trustedHops: 0, trustedNetworks: [] };
  if (value === undefined || value === false) return none;
  if (value === true) return { ...none, trustsAll: true };
  if (typeof value === 'number') {
    if (!Number.isInteger(value) || value < 0 || value > MAX_HOPS) throw rangeError('options.trustProxy', `an integer from 0 to ${MAX_HOPS} (proxies)`, value);
    return { ...none, trustedHops: value };
  }
  const list = typeof value === 'string' ? value.split(',').map((entry) => entry.trim()) : value;
  const expected = 'a boolean, a number of proxies, or addresses of proxies (loopback, linklocal, uniquelocal, 10.0.0.1, 10.0.0.0/8)';
  if (!Array.isArray(list)) throw typeError('options.trustProxy', expected, value);
  const trustedNetworks = list.flatMap((entry) => {
    if (typeof entry === 'string' && Object.hasOwn(NAMED_NETWORKS, entry)) return NAMED_NETWORKS[entry];
    if (typeof entry !== 'string' || !isNetwork(entry)) throw typeError('options.trustProxy', expected, entry);
    return [entry];
  });
  return { ...none, trustedNetworks };
}

module.exports = { checkAccess };
