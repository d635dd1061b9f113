'use strict';

// Rejections: why an upgrade request is not answered with a WebSocket, and the HTTP response that says so.

const { Buffer } = require('node:buffer');
const { STATUS_CODES, validateHeaderName, validateHeaderValue } = require('node:http');

/**
 * @typedef {'allowedOrigins' | 'verifyClient' | 'undecided' | 'closing' | 'taken'} Reason a key of `stats().turnedAway`
 * @typedef {{ reason: Reason, status: number, text?: string, headers: string[] }} Rejection
 *   `headers` has names and values, alternating
 */

/** Headers that the response sets itself. */
const OWN_HEADERS = new Set(['connection', 'content-length', 'transfer-encoding']);

/** @type {Rejection} */
const CLOSING = { reason: 'closing', status: 503, text: 'the server is closing', headers: [] };

/** @type {Rejection} a request that was not decided about in time */
const UNDECIDED = rejection('undecided', 503);

/**
 * @param {Reason} reason
 * @param {unknown} status 401 is used in place of one that is not between 300 and 599
 * @param {unknown} [text]
 * @param {Record<string, unknown>} [headers]
 * @returns {Rejection}
 */
function rejection(reason, status, text = undefined, headers = {}) {
  const pairs = Object.entries(headers ?? {}).flatMap(([name, value]) => [value].flat().flatMap((one) => [name, String(one)]));
  const isStatus = Number.isInteger(status) && Number(status) >= 300 && Number(status) <= 599;
  return { reason, status: isStatus ? Number(status) : 401, ...(text === undefined ? {} : { text: String(text) }), headers: pairs };
}

/** Returns the HTTP/1.1 response of a rejection. Invalid headers are left out. @param {Rejection} rejected */
function serializeRejection({ status, text = STATUS_CODES[status] ?? '', headers }) {
  const body = Buffer.from(`${text}\n`);
  let type = 'Content-Type: text/plain; charset=utf-8\r\n';
  const lines = [];
  for (let n = 0; n < headers.length; n += 2) {
    if (!isValidHeader(headers[n], headers[n + 1])) continue;
    const line = `${headers[n]}: ${headers[n + 1]}\r\n`;
    if (headers[n].toLowerCase() === 'content-type') type = line;
    else if (!OWN_HEADERS.has(headers[n].toLowerCase())) lines.push(line);
  }
  const head = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\nConnection: close\r\nContent-Length: ${body.length}\r\n`;
  return Buffer.concat([Buffer.from(`${head}${type}${lines.join('')}\r\n`, 'latin1'), body]);
}

/** @param {string} name @param {string} value */
function isValidHeader(name, value) {
  try {
    validateHeaderName(name);
    validateHeaderValue(name, value);
    return true;
  } catch {
    return false;
  }
}

module.exports = { CLOSING, UNDECIDED, rejection, serializeRejection };
