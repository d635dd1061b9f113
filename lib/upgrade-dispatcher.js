'use strict';

// Passes the upgrade requests of an http server to the relays that are attached to it.

const { nextTick } = require('node:process');
const { setTimeout } = require('node:timers');
const { isStream, requestOf } = require('./http2.js');
const { handledSockets, ignore, respondAndClose } = require('./sockets.js');

/** Sockets of requests that are left to other listeners. @type {WeakSet<object>} */
const leftToOthers = new WeakSet();

/** One dispatcher for each server, shared by all its relays. @type {WeakMap<object, UpgradeDispatcher>} */
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
 * @typedef {{ headersTimeout: number, closeTimeout: number }} Limits in milliseconds
 * @typedef {{ relay: import('..'), hasPath: boolean, limits: Limits }} Attachment
 */

/**
 * Attaches a relay to a server.
 * @param {import('node:http').Server | import('node:https').Server | import('node:http2').Http2SecureServer} server
 * @param {import('..')} relay
 * @param {{ hasPath: boolean, limits: Limits }} options
 * @param {() => void} onListening called when the server listens, or in the next tick if it does already
 * @returns {() => void} detaches the relay
 */
function attach(server, relay, { hasPath, limits }, onListening) {
  const onError = (error) => relay.emit('error', error);
  const attachment = { relay, hasPath, limits };
  let dispatcher = dispatchers.get(server);
  if (!dispatcher) dispatchers.set(server, (dispatcher = new UpgradeDispatcher(server)));
  dispatcher.add(attachment);
  // A server may be `listening` before it has emitted the event.
  let isDue = server.listening;
  const listening = () => {
    isDue = false;
    onListening();
  };
  server.on('listening', listening);
  server.on('error', onError);
  if (isDue) nextTick(() => isDue && listening());
  return () => {
    isDue = false;
    server.removeListener('listening', listening);
    server.removeListener('error', onError);
    dispatcher.remove(attachment);
  };
}

/**
 * Finds the relay that a request is for. Its listeners are the first of the server: Node gives every listener the same
 * socket, and many libraries answer requests that they do not know.
 */
class UpgradeDispatcher {
  #server;
  /** @type {Attachment[]} */
  #attachments = [];
  #listeners = {
    upgrade: (request, socket, head) => this.#dispatch(request, socket, head),
  };

  constructor(server) {
    this.#server = server;
    // HTTP/2 has no upgrade: clients open WebSockets with CONNECT (RFC 8441).
    if (typeof server.updateSettings !== 'function') return;
    this.#listeners.stream = (stream, headers) => {
      if (isWebSocket(headers)) this.#dispatch(requestOf(stream, headers), stream);
    };
    this.#listeners.connect = (request, response) => this.#answerConnect(request, response);
  }

  /** @param {Attachment} attachment */
  add(attachment) {
    if (this.#attachments.push(attachment) > 1) return;
    for (const [name, listener] of Object.entries(this.#listeners)) this.#server.prependListener(name, listener);
  }

  /** @param {Attachment} attachment */
  remove(attachment) {
    this.#attachments = this.#attachments.filter((other) => other !== attachment);
    if (this.#attachments.length > 0) return;
    for (const [name, listener] of Object.entries(this.#listeners)) this.#server.removeListener(name, listener);
  }

  #dispatch(request, socket, head) {
    if (handledSockets.has(socket)) return;
    const matching = this.#attachments.filter(({ relay }) => relay.shouldHandle(request));
    const { relay } = matching.find(({ hasPath }) => hasPath) ?? matching[0] ?? {};
    if (relay) relay.handleUpgrade(request, socket, head);
    else this.#leaveToOthers(socket);
  }

  /** Answers CONNECT as Node does without a listener for it. WebSockets are dispatched as streams. */
  #answerConnect({ headers }, response) {
    if (isWebSocket(headers) || this.#server.listenerCount('connect') > 1) return;
    if (isStream(response.stream)) response.writeHead(405).end();
    else response.destroy();
  }

  /**
   * Leaves a request to the other listeners, and answers it with 404 if there are none or if they do nothing with it: Node
   * does not answer upgrade requests once there is a listener.
   */
  #leaveToOthers(socket) {
    if (leftToOthers.has(socket)) return;
    const { headersTimeout, closeTimeout } = this.#attachments[0].limits;
    const reject = () => {
      handledSockets.add(socket);
      respondAndClose(socket, NOT_FOUND, closeTimeout);
    };
    if (!this.#hasOtherListeners(socket)) {
      reject();
      return;
    }
    leftToOthers.add(socket);
    const isInUse = usageOf(socket);
    setTimeout(() => isInUse() || reject(), headersTimeout).unref();
  }

  #hasOtherListeners(socket) {
    const count = (/** @type {string} */ name) => this.#server.listenerCount(name);
    if (!isStream(socket)) return count('upgrade') > 1;
    // If 'request' has listeners, Node has one for 'stream' too, which emits 'connect'.
    const own = count('request') > 0 ? 2 : 1;
    return count('stream') > own || (own === 2 && count('connect') > 1);
  }
}

/** @param {import('node:http2').IncomingHttpHeaders} headers */
function isWebSocket(headers) {
  return headers[':method'] === 'CONNECT' && headers[':protocol'] === 'websocket';
}

/** Returns a function that tells whether a listener has begun to use the socket since. */
function usageOf(socket) {
  // Without a listener, a client that resets the connection would crash the process.
  socket.on('error', ignore);
  const { bytesWritten } = socket;
  // TLS sockets and HTTP/2 streams have an 'error' listener of Node.
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
