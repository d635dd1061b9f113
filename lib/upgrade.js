'use strict';

// A request to upgrade that a server of Node has read, and what becomes of its socket.

const net = require('node:net');

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

/** Bytes that are read and discarded of who goes on sending when the connection ends, as in the engine. */
const MAX_DISCARDED_BYTES = 16 * 1024 * 1024;

/** Sockets that somebody is answering: a second answer would be read as part of the first. */
const answered = new WeakSet();

/**
 * What the engine is to know of a request, as it would read it from its own port. The path is not among it.
 * @param {import('node:http').IncomingMessage} request
 */
function headOf({ method, httpVersion, headers }) {
  const lines = HEADERS.filter((name) => headers[name] !== undefined).map((name) => `${name}: ${headers[name]}\r\n`);
  return Buffer.from(`${method} / HTTP/${httpVersion}\r\n${lines.join('')}\r\n`, 'latin1');
}

/**
 * The descriptor of a socket that can go on without Node: plain TCP with nothing left to write. Not with TLS, where it
 * is that of the connection below. `_handle` is not documented: whatever is not as expected goes over a bridge.
 * @param {import('node:stream').Duplex} socket
 * @returns {number | undefined}
 */
function descriptorOf(socket) {
  if (process.platform === 'win32' || !(socket instanceof net.Socket)) return undefined;
  const { _handle: handle, encrypted } = /** @type {any} */ (socket);
  if (encrypted || socket.destroyed || socket.readableEnded || socket.writableLength > 0) return undefined;
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
  socket.end(answer, () => socket.destroy());
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

module.exports = { answered, descriptorOf, destroyer, discard, headOf, ignore, refuse };
