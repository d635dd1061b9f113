'use strict';

// A request to upgrade that a server of Node has read, and what becomes of its socket.

const { Buffer } = require('node:buffer');
const { performance } = require('node:perf_hooks');
const { platform } = require('node:process');
const { setTimeout, clearTimeout } = require('node:timers');
const http2 = require('./http2.js');

/** What a WebSocket is asked for with, and what may not be in such a request. */
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

/** What a request's target consists of. */
const TARGET = /^[!-~\x80-\xff]+$/;

/** Bytes that are read and discarded of who goes on sending when the connection ends, as in the engine. */
const MAX_DISCARDED_BYTES = 16 * 1024 * 1024;

/** Sockets that somebody is answering: a second answer would be read as part of the first. */
const answered = new WeakSet();

/**
 * What the engine is to know of a request, line by line as it would read it from its own port.
 * @param {import('node:http').IncomingMessage} given
 * @param {any} socket what it came over
 */
function headOf(given, socket) {
  const request = http2.isStream(socket) ? http2.asHttp1(given) : given;
  const { method, httpVersion, url } = request;
  const lines = HEADERS.flatMap((name) => linesOf(request, name).map((value) => `${name}: ${value}\r\n`));
  // An application may have put something else there.
  const target = TARGET.test(url) ? url : '/';
  return Buffer.from(`${method} ${target} HTTP/${httpVersion}\r\n${lines.join('')}\r\n`, 'latin1');
}

/**
 * The values of a header: those that came, one for each line, unless the application has put others in `headers`.
 * @param {import('node:http').IncomingMessage} request
 * @param {string} name
 * @returns {string[]}
 */
function linesOf({ headers, rawHeaders }, name) {
  const value = headers[name];
  if (value === undefined) return [];
  const lines = (rawHeaders ?? []).filter((_, n) => n % 2 === 1 && rawHeaders[n - 1].toLowerCase() === name);
  const isTheirs = lines.join(', ') === value || lines[0] === value;
  return isTheirs ? lines : [value].flat();
}

/**
 * Where a socket's bytes come from. Node forgets it with the socket, unless somebody has asked.
 * @param {any} socket
 * @returns {{ remoteAddress?: string, encrypted?: boolean }}
 */
function peerOf(socket) {
  const { remoteAddress, encrypted } = http2.isStream(socket) ? (socket.session?.socket ?? {}) : socket;
  return { remoteAddress, encrypted };
}

/**
 * The descriptor of a socket that can go on without Node: plain TCP with nothing left to write. Not with TLS, where it
 * is that of the connection below. `_handle` is not documented: whatever is not as expected goes over a bridge.
 * @param {import('node:stream').Duplex} socket
 * @returns {number | undefined}
 */
function descriptorOf(socket) {
  const { _handle: handle, encrypted, connect, setNoDelay } = /** @type {any} */ (socket);
  // What only passes a socket's bytes on is none.
  const isSocket = typeof connect === 'function' && typeof setNoDelay === 'function';
  if (platform === 'win32' || !isSocket || encrypted || socket.destroyed || socket.readableEnded || socket.writableLength > 0) return undefined;
  const isPlain = handle?.constructor?.name === 'TCP' && Number.isInteger(handle.fd) && handle.fd >= 0;
  return isPlain ? handle.fd : undefined;
}

/**
 * Answers and closes.
 * @param {import('node:stream').Duplex} socket
 * @param {Buffer | string} answer
 * @param {number} patience milliseconds for a client that does not read it
 * @returns {(patience: number) => void} closes it sooner
 */
function refuse(socket, answer, patience) {
  socket.on('error', ignore);
  const destroyAfter = destroyer(socket);
  destroyAfter(patience);
  if (http2.isStream(socket)) http2.respond(/** @type {any} */ (socket), Buffer.from(answer));
  else socket.end(answer, () => socket.destroy());
  return destroyAfter;
}

/**
 * A function that destroys a socket after so many milliseconds, of which the shortest time counts.
 * @param {import('node:stream').Duplex} socket
 */
function destroyer(socket) {
  let due = Infinity;
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  socket.once('close', () => clearTimeout(timer));
  return (/** @type {number} */ patience) => {
    if (socket.destroyed || performance.now() + patience >= due) return;
    due = performance.now() + patience;
    clearTimeout(timer);
    timer = setTimeout(() => socket.destroy(), patience);
    timer.unref();
  };
}

/** Reads what a socket brings, until that is more than it may. @param {import('node:stream').Duplex} socket */
function discard(socket) {
  let left = MAX_DISCARDED_BYTES;
  socket.on('data', (bytes) => {
    left -= bytes.length;
    if (left < 0) socket.destroy();
  });
  socket.resume();
}

function ignore() {}

module.exports = { answered, descriptorOf, destroyer, discard, headOf, ignore, peerOf, refuse };
