'use strict';

// Serves or rejects upgrade requests that a Node server has read.

const { Buffer } = require('node:buffer');
const { withZoneName } = require('./address.js');
const { RelayError } = require('./errors.js');
const { answeringLibrary, suspectedLibraries } = require('./other-listeners.js');
const { BridgedConnection, DetachedConnection } = require('./pending-connection.js');
const { serializeRejection } = require('./rejection.js');
const { handledSockets, descriptorOf, ignore, peerOf } = require('./sockets.js');
const { serializeHead } = require('./upgrade-request.js');

class UpgradeHandler {
  #native;
  #verifyQueue;
  #adopt;
  #respondAndClose;
  #openBridge;
  #warn;
  #isOpen = true;

  /**
   * @param {object} options
   * @param {import('../native.js').NativeRelay} options.native
   * @param {import('./verify-queue.js').VerifyQueue | undefined} options.verifyQueue given if requests must be verified
   * @param {(upgrade: () => void) => void} options.adopt calls `upgrade`, which hands a connection to the engine
   * @param {(socket: any, response: Buffer) => void} options.respondAndClose
   * @param {(socket: any, native: import('../native.js').NativeBridge, onAnsweredByOther: () => void) => void} options.openBridge
   * @param {(error: Error) => void} options.warn called when another listener answers a request for this relay
   */
  constructor({ native, verifyQueue, adopt, respondAndClose, openBridge, warn }) {
    this.#native = native;
    this.#verifyQueue = verifyQueue;
    this.#adopt = adopt;
    this.#respondAndClose = respondAndClose;
    this.#openBridge = openBridge;
    this.#warn = warn;
  }

  /** Serves or rejects a request, once it is verified. The socket is the relay's from here on. */
  handle(request, socket, head) {
    if (handledSockets.has(socket)) {
      const error = new Error("this socket is already being answered; two 'upgrade' listeners may have handled it");
      throw Object.assign(error, { code: 'ERR_SOCKET_TAKEN' });
    }
    handledSockets.add(socket);
    if (socket.writableEnded || socket.headersSent || answeringLibrary(request, socket) !== undefined) {
      this.#reportAnsweredByOther(request, socket);
      return;
    }
    if (!socket.readable || !socket.writable) {
      socket.destroy();
      return;
    }
    socket.on('error', ignore);
    const { remoteAddress, encrypted } = peerOf(socket);
    // A stream that wraps the socket may not know the address.
    const peer = remoteAddress ?? request.socket?.remoteAddress;
    const requestHead = serializeHead(request, socket);
    const connection = this.#pendingConnection(request, socket, head);
    const decide = (/** @type {import('./rejection.js').Rejection | undefined} */ rejected) => {
      if (connection.isAnsweredByOther) this.#giveUp(request, socket);
      else if (!connection.isWritable) connection.close();
      else if (rejected) this.#reject(connection, rejected);
      else this.#adopt(() => connection.upgrade(requestHead, peer));
    };
    try {
      // An engine that is closing rejects every request by itself.
      if (this.#verifyQueue && this.#isOpen) {
        const { address, secure } = this.#native.resolveClient(requestHead, peer, Boolean(encrypted));
        const info = { origin: request.headers.origin, secure, remoteAddress: withZoneName(address), req: request };
        this.#verifyQueue.add(connection, info, decide);
      } else decide();
    } finally {
      connection.beforeOtherListeners();
    }
  }

  /** From here on the engine rejects requests, and sockets stay with Node. */
  close() {
    this.#isOpen = false;
  }

  /** Detaches the connection from Node at once where possible: other listeners could answer it too. */
  #pendingConnection(request, socket, head) {
    // A closed engine does not answer connections that it took.
    const descriptor = this.#isOpen ? descriptorOf(socket) : undefined;
    const detached = descriptor === undefined ? null : this.#native.adoptDescriptor(descriptor);
    if (detached) {
      const early = [head, socket.read()].filter((bytes) => bytes?.length > 0);
      return new DetachedConnection(this.#native, detached, socket, Buffer.concat(early));
    }
    return new BridgedConnection(this.#native, socket, head, {
      respondAndClose: this.#respondAndClose,
      openBridge: this.#openBridge,
      onAnsweredByOther: () => this.#giveUp(request, socket),
    });
  }

  /** @param {import('./pending-connection.js').PendingConnection} connection @param {import('./rejection.js').Rejection} rejected */
  #reject(connection, rejected) {
    this.#native.countRejection(rejected.reason);
    connection.reject(serializeRejection(rejected));
  }

  /** Destroys a socket that another listener has answered too: the client would read a mixture of both responses. */
  #giveUp(request, socket) {
    this.#reportAnsweredByOther(request, socket);
    socket.destroy();
  }

  #reportAnsweredByOther(request, socket) {
    this.#native.countRejection('taken');
    const text = `another 'upgrade' listener answered a request for this relay; likely: ${suspectedLibraries(request, socket)}`;
    this.#warn(new RelayError('ERR_UPGRADE_TAKEN', text, undefined));
  }
}

module.exports = { UpgradeHandler };
