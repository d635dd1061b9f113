'use strict';

// The head of an upgrade request that a Node server has parsed, written out again for the engine.

const { Buffer } = require('node:buffer');
const http2 = require('./http2.js');

/** The headers that the engine reads. */
const HEADERS = [
  'host',
  'upgrade',
  'connection',
  'content-length',
  'transfer-encoding',
  'sec-websocket-version',
  'sec-websocket-key',
  'sec-websocket-protocol',
  'origin',
  'x-forwarded-for',
  'x-forwarded-proto',
];

/** The characters of a request target. */
const TARGET = /^[!-~\x80-\xff]+$/;

/**
 * Returns the head as the engine would read it from its own port.
 * @param {import('node:http').IncomingMessage} given
 * @param {any} socket the socket or HTTP/2 stream of the request
 */
function serializeHead(given, socket) {
  const request = http2.isStream(socket) ? http2.asHttp1(given) : given;
  const { method, httpVersion, url } = request;
  const lines = HEADERS.flatMap((name) => headerValues(request, name).map((value) => `${name}: ${value}\r\n`));
  // The application may have replaced it.
  const target = TARGET.test(url) ? url : '/';
  return Buffer.from(`${method} ${target} HTTP/${httpVersion}\r\n${lines.join('')}\r\n`, 'latin1');
}

/**
 * Returns the values of a header, one for each line received. If the application has changed `headers`, its values count.
 * @param {import('node:http').IncomingMessage} request
 * @param {string} name
 * @returns {string[]}
 */
function headerValues({ headers, rawHeaders }, name) {
  const value = headers[name];
  if (value === undefined) return [];
  const received = (rawHeaders ?? []).filter((_, n) => n % 2 === 1 && rawHeaders[n - 1].toLowerCase() === name);
  const isUnchanged = received.join(', ') === value || received[0] === value;
  return isUnchanged ? received : [value].flat();
}

module.exports = { serializeHead };
