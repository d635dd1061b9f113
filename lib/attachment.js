'use strict';

// A relay on a server of somebody else: it takes the upgrades that are its own.

const { answered, ignore, refuse } = require('./upgrade.js');

/** Which relay listens with which function: a server may have several relays, on different paths. */
const relays = new WeakMap();

/** Sockets that are watched already for nobody taking them. */
const watched = new WeakSet();

const NOT_FOUND = [
  'HTTP/1.1 404 Not Found',
  'Connection: close',
  'Content-Length: 16',
  'Content-Type: text/plain; charset=utf-8',
  '',
  'nothing is here\n',
].join('\r\n');

/**
 * Listens to a server until the function that it returns is called.
 * @param {import('node:http').Server | import('node:https').Server} server
 * @param {import('..')} relay
 * @param {{ headersTimeout: number, closeTimeout: number }} limits
 * @param {() => void} listening called when the server listens, or soon if it does
 */
function attach(server, relay, limits, listening) {
  const upgrade = (request, socket, head) => {
    if (answered.has(socket)) return;
    if (relay.shouldHandle(request)) relay.handleUpgrade(request, socket, head);
    else leaveToOthers(server, request, socket, limits);
  };
  const fail = (error) => relay.emit('error', error);
  relays.set(upgrade, relay);
  // A server that has just been told to listen says so itself, a turn later.
  let isOwed = server.listening;
  const tell = () => {
    isOwed = false;
    listening();
  };
  server.on('listening', tell);
  server.on('error', fail);
  server.on('upgrade', upgrade);
  if (isOwed) process.nextTick(() => isOwed && tell());
  return () => {
    isOwed = false;
    server.removeListener('listening', tell);
    server.removeListener('error', fail);
    server.removeListener('upgrade', upgrade);
  };
}

/** No answer would leave the client waiting for ever: Node leaves a socket alone when anybody listens for upgrades. */
function leaveToOthers(server, request, socket, { headersTimeout, closeTimeout }) {
  if (watched.has(socket)) return;
  const listeners = server.listeners('upgrade');
  const isStrange = (listener) => !relays.has(listener);
  if (listeners.some((listener) => relays.get(listener)?.shouldHandle(request))) return;
  if (!listeners.some(isStrange)) {
    answered.add(socket);
    refuse(socket, NOT_FOUND, closeTimeout);
    return;
  }
  watched.add(socket);
  const isTaken = takenSince(socket);
  const timer = setTimeout(() => {
    if (isTaken()) return;
    answered.add(socket);
    refuse(socket, NOT_FOUND, closeTimeout);
  }, headersTimeout);
  timer.unref();
}

/** Whether somebody who does not answer at once has begun to care for a socket. */
function takenSince(socket) {
  // A client that breaks off while nobody does must not crash the process.
  socket.on('error', ignore);
  const { bytesWritten } = socket;
  // TLS has a listener of its own.
  const listeners = socket.encrypted ? socket.listenerCount('error') : 1;
  return () =>
    socket.destroyed ||
    socket.writableEnded ||
    socket.readableFlowing !== null ||
    socket.bytesWritten !== bytesWritten ||
    socket.listenerCount('error') > listeners;
}

module.exports = { attach };
