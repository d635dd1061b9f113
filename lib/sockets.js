'use strict';

// What can be done with the socket of an upgrade request.

const { Buffer } = require('node:buffer');
const { performance } = require('node:perf_hooks');
const { platform } = require('node:process');
const { clearTimeout, setTimeout } = require('node:timers');
const { MAX_DISCARDED_BYTES } = require('./engine.js');
const http2 = require('./http2.js');

/**
 * Sockets that a relay is answering or has answered: a second response would be read as part of the first.
 * @type {WeakSet<object>}
 */
const handledSockets = new WeakSet();

/**
 * Returns the address of a socket's peer. To be read early: Node forgets it with the socket.
 * @param {any} socket
 * @returns {{ remoteAddress?: string, encrypted?: boolean }}
 */
function peerOf(socket) {
  const { remoteAddress, encrypted } = http2.isStream(socket) ? (socket.session?.socket ?? {}) : socket;
  return { remoteAddress, encrypted };
}

/**
 * Returns the file descriptor of a socket that can do without Node: plain TCP with nothing left to write. With TLS it
 * would be that of the TCP connection below. `_handle` is not documented, so anything unexpected returns `undefined`
 * and the connection is bridged.
 * @param {import('node:stream').Duplex} socket
 * @returns {number | undefined}
 */
function descriptorOf(socket) {
  const { _handle: handle, encrypted, connect, setNoDelay } = /** @type {any} */ (socket);
  // Not a stream that wraps a socket.
  const isSocket = typeof connect === 'function' && typeof setNoDelay === 'function';
  if (platform === 'win32' || !isSocket || encrypted || socket.destroyed || socket.readableEnded || socket.writableLength > 0) return undefined;
  const isPlain = handle?.constructor?.name === 'TCP' && Number.isInteger(handle.fd) && handle.fd >= 0;
  return isPlain ? handle.fd : undefined;
}

/**
 * Sends a response and closes the socket.
 * @param {import('node:stream').Duplex} socket
 * @param {Buffer | string} response
 * @param {number} timeout milliseconds after which the socket is destroyed if the client does not read
 * @returns {(timeout: number) => void} shortens the timeout
 */
function respondAndClose(socket, response, timeout) {
  socket.on('error', ignore);
  const destroyAfter = destroyTimer(socket);
  destroyAfter(timeout);
  if (http2.isStream(socket)) http2.respond(/** @type {any} */ (socket), Buffer.from(response));
  else socket.end(response, () => socket.destroy());
  return destroyAfter;
}

/**
 * Returns a function that destroys a socket after a timeout. Of several calls the earliest deadline counts.
 * @param {import('node:stream').Duplex} socket
 */
function destroyTimer(socket) {
  let deadline = Infinity;
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  socket.once('close', () => clearTimeout(timer));
  return (/** @type {number} */ timeout) => {
    if (socket.destroyed || performance.now() + timeout >= deadline) return;
    deadline = performance.now() + timeout;
    clearTimeout(timer);
    timer = setTimeout(() => socket.destroy(), timeout);
    timer.unref();
  };
}

/** Reads and discards what a socket receives, and destroys it if that is too much. @param {import('node:stream').Duplex} socket */
function discardInput(socket) {
  let remaining = MAX_DISCARDED_BYTES;
  socket.on('data', (bytes) => {
    remaining -= bytes.length;
    if (remaining < 0) socket.destroy();
  });
  socket.resume();
}

function ignore() {}

module.exports = { handledSockets, descriptorOf, destroyTimer, discardInput, ignore, peerOf, respondAndClose };
