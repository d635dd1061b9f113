'use strict';

// A request to upgrade that a server of Node has read, and what becomes of its socket.

const { Buffer } = require('node:buffer');
const { platform } = require('node:process');
const { setTimeout, clearTimeout } = require('node:timers');
const http2 = require('./http2.js');

/** What a WebSocket is asked for with. */
const HEADERS = [
  'upgrade',
  'connection',
  'sec-websocket-version',
  'sec-websocket-key',
  'sec-websocket-protocol',
  'origin',
  'x-forwarded-for',
];

/** Sockets that somebody is answering: a second answer would be read as part of the first. */
const answered = new WeakSet();

/**
 * What the engine is to know of a request, as it would read it from its own port. The path is not among it.
 * @param {import('node:http').IncomingMessage} request
 */
function headOf(request) {
  const { method, httpVersion, headers } = request.httpVersion === '2.0' ? http2.asHttp1(request) : request;
  const lines = HEADERS.filter((name) => headers[name] !== undefined).map((name) => `${name}: ${headers[name]}\r\n`);
  return Buffer.from(`${method} / HTTP/${httpVersion}\r\n${lines.join('')}\r\n`, 'latin1');
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
 */
function refuse(socket, answer, patience) {
  socket.on('error', ignore);
  const timer = setTimeout(() => socket.destroy(), patience);
  timer.unref();
  socket.once('close', () => clearTimeout(timer));
  if (http2.isStream(socket)) http2.respond(/** @type {any} */ (socket), Buffer.from(answer));
  else socket.end(answer, () => socket.destroy());
}

function ignore() {}

module.exports = { answered, descriptorOf, headOf, ignore, peerOf, refuse };
