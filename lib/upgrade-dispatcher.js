'use strict';

// The relays of an http server that is somebody else's: they take the upgrades that are their own.

const { nextTick } = require('node:process');
const { setTimeout } = require('node:timers');
const { isStream, requestOf } = require('./http2.js');
const { answered, ignore, refuse } = require('./upgrade-request.js');

/** Sockets that are watched already for nobody taking them. */
const watched = new WeakSet();

/** The one listener of all relays of a server, by server. @type {WeakMap<object, UpgradeDispatcher>} */
const dispatchers = new WeakMap();

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
 * @param {import('node:http').Server | import('node:https').Server | import('node:http2').Http2SecureServer} server
 * @param {import('..')} relay
 * @param {{ hasPath: boolean, limits: { headersTimeout: number, closeTimeout: number } }} options
 * @param {() => void} listening called when the server listens, or soon if it does
 */
function attach(server, relay, { hasPath, limits }, listening) {
  const fail = (error) => relay.emit('error', error);
  const place = { relay, hasPath, limits };
  let dispatcher = dispatchers.get(server);
  if (!dispatcher) dispatchers.set(server, (dispatcher = new UpgradeDispatcher(server)));
  dispatcher.add(place);
  // A server that has just been told to listen says so itself, a turn later.
  let isOwed = server.listening;
  const tell = () => {
    isOwed = false;
    listening();
  };
  server.on('listening', tell);
  server.on('error', fail);
  if (isOwed) nextTick(() => isOwed && tell());
  return () => {
    isOwed = false;
    server.removeListener('listening', tell);
    server.removeListener('error', fail);
    dispatcher.remove(place);
  };
}

/**
 * Finds the relay that a request is for. It listens before all others, as Node gives each listener the same socket: only
 * what is taken from Node at once stays unanswered by those that answer whatever they do not know.
 */
class UpgradeDispatcher {
  #server;
  /** @type {{ relay: import('..'), hasPath: boolean, limits: { headersTimeout: number, closeTimeout: number } }[]} */
  #places = [];
  #listeners = {
    upgrade: (request, socket, head) => this.#dispatch(request, socket, head),
  };

  constructor(server) {
    this.#server = server;
    // HTTP/2 has no upgrade: WebSockets are asked for with CONNECT (RFC 8441), once the server allows that.
    if (typeof server.updateSettings !== 'function') return;
    this.#listeners.stream = (stream, headers) => {
      if (isWebSocket(headers)) this.#dispatch(requestOf(stream, headers), stream);
    };
    this.#listeners.connect = (request, answer) => this.#leaveConnect(request, answer);
  }

  add(place) {
    if (this.#places.push(place) > 1) return;
    for (const [name, listener] of Object.entries(this.#listeners)) this.#server.prependListener(name, listener);
  }

  remove(place) {
    this.#places = this.#places.filter((other) => other !== place);
    if (this.#places.length > 0) return;
    for (const [name, listener] of Object.entries(this.#listeners)) this.#server.removeListener(name, listener);
  }

  #dispatch(request, socket, head) {
    if (answered.has(socket)) return;
    const places = this.#places.filter(({ relay }) => relay.shouldHandle(request));
    const { relay } = places.find(({ hasPath }) => hasPath) ?? places[0] ?? {};
    if (relay) relay.handleUpgrade(request, socket, head);
    else this.#leaveToOthers(socket);
  }

  /** Does what Node does where nobody listens for CONNECT; WebSockets have been dealt with as streams. */
  #leaveConnect({ headers }, answer) {
    if (isWebSocket(headers) || this.#server.listenerCount('connect') > 1) return;
    if (isStream(answer.stream)) answer.writeHead(405).end();
    else answer.destroy();
  }

  /** No answer would leave the client waiting for ever: Node leaves a socket alone when anybody listens for upgrades. */
  #leaveToOthers(socket) {
    if (watched.has(socket)) return;
    const { headersTimeout, closeTimeout } = this.#places[0].limits;
    const refuseIt = () => {
      answered.add(socket);
      refuse(socket, NOT_FOUND, closeTimeout);
    };
    if (!this.#hasOthers(socket)) {
      refuseIt();
      return;
    }
    watched.add(socket);
    const isTaken = takenSince(socket);
    setTimeout(() => isTaken() || refuseIt(), headersTimeout).unref();
  }

  #hasOthers(socket) {
    const count = (/** @type {string} */ name) => this.#server.listenerCount(name);
    if (!isStream(socket)) return count('upgrade') > 1;
    // With a listener for requests Node has one of its own for streams, which asks those for 'connect'.
    const own = count('request') > 0 ? 2 : 1;
    return count('stream') > own || (own === 2 && count('connect') > 1);
  }
}

/** @param {import('node:http2').IncomingHttpHeaders} headers */
function isWebSocket(headers) {
  return headers[':method'] === 'CONNECT' && headers[':protocol'] === 'websocket';
}

/** Whether somebody who does not answer at once has begun to care for a socket. */
function takenSince(socket) {
  // A client that breaks off while nobody does must not crash the process.
  socket.on('error', ignore);
  const { bytesWritten } = socket;
  // TLS has a listener of its own.
  const listeners = socket.encrypted || isStream(socket) ? socket.listenerCount('error') : 1;
  return () =>
    socket.destroyed ||
    socket.writableEnded ||
    socket.headersSent === true ||
    socket.readableFlowing !== null ||
    socket.bytesWritten !== bytesWritten ||
    socket.listenerCount('error') > listeners;
}

module.exports = { attach };
