'use strict';

// What becomes of requests to upgrade that a server of Node has read: asked about, then served or refused.

const { Buffer } = require('node:buffer');
const { answerOf } = require('./verifier.js');
const { withZoneName } = require('./address.js');
const { BridgedConnection, DetachedConnection } = require('./pending-connection.js');
const { RelayError } = require('./errors.js');
const { suspectedLibraries, answeringLibrary } = require('./other-listeners.js');
const { answered, descriptorOf, headOf, ignore, peerOf } = require('./upgrade-request.js');

class UpgradeHandler {
  #native;
  #verifyQueue;
  #adopt;
  #refuseSocket;
  #bridge;
  #warn;
  #isOpen = true;

  /**
   * @param {object} options
   * @param {import('../native.js').NativeRelay} options.native
   * @param {import('./verify-queue.js').VerifyQueue | undefined} options.verifyQueue where somebody is asked
   * @param {(serve: () => void) => void} options.adopt calls `serve`, which has a connection served
   * @param {(socket: any, answer: Buffer) => void} options.refuse answers with that and closes the socket
   * @param {(socket: any, native: import('../native.js').NativeBridge, onAnsweredByOther: () => void) => void} options.bridge moves the
   *   bytes of a connection that Node keeps, and calls `onAnsweredByOther` if somebody else ends it
   * @param {(error: Error) => void} options.warn told when other listeners answer what is ours
   */
  constructor({ native, verifyQueue, adopt, refuse, bridge, warn }) {
    this.#native = native;
    this.#verifyQueue = verifyQueue;
    this.#adopt = adopt;
    this.#refuseSocket = refuse;
    this.#bridge = bridge;
    this.#warn = warn;
  }

  /** Serves or refuses a request, now or when that is decided. Its socket is nobody else's from here on. */
  handle(request, socket, head) {
    if (answered.has(socket)) {
      const error = new Error('this socket is being answered already; two listeners for upgrades may have taken it');
      throw Object.assign(error, { code: 'ERR_SOCKET_TAKEN' });
    }
    answered.add(socket);
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
    // A stream that the application has put around the socket may not know.
    const peer = remoteAddress ?? request.socket?.remoteAddress;
    const lines = headOf(request, socket);
    const connection = this.#take(request, socket, head);
    const answer = (/** @type {import('./verifier.js').Refusal | undefined} */ refusal) => {
      if (connection.isAnsweredByOther) this.#giveUp(request, socket);
      else if (!connection.isWritable) connection.close();
      else if (refusal) this.#refuse(connection, refusal);
      else this.#adopt(() => connection.upgrade(lines, peer));
    };
    try {
      // When it is closing the engine says so, whoever comes.
      if (this.#verifyQueue && this.#isOpen) {
        const { address, secure } = this.#native.caller(lines, peer, Boolean(encrypted));
        const info = { origin: request.headers.origin, secure, remoteAddress: withZoneName(address), req: request };
        this.#verifyQueue.ask(connection, info, answer);
      } else answer();
    } finally {
      // The other listeners are next.
      connection.beforeOtherListeners();
    }
  }

  /** From here on the engine refuses, and sockets stay with Node. */
  close() {
    this.#isOpen = false;
  }

  /** Takes a connection from Node at once where that can be done: what stays there others answer too. */
  #take(request, socket, head) {
    // An engine that has closed answers nobody.
    const descriptor = this.#isOpen ? descriptorOf(socket) : undefined;
    const taken = descriptor === undefined ? null : this.#native.takeOver(descriptor);
    if (taken) {
      const early = [head, socket.read()].filter((bytes) => bytes?.length > 0);
      return new DetachedConnection(this.#native, taken, socket, Buffer.concat(early));
    }
    return new BridgedConnection(this.#native, socket, head, {
      refuse: this.#refuseSocket,
      bridge: this.#bridge,
      onAnsweredByOther: () => this.#giveUp(request, socket),
    });
  }

  #refuse(connection, refusal) {
    this.#native.turnedAway(refusal.why);
    connection.refuse(answerOf(refusal));
  }

  /** Another listener has answered too: what the client hears then is neither's. */
  #giveUp(request, socket) {
    this.#reportAnsweredByOther(request, socket);
    socket.destroy();
  }

  #reportAnsweredByOther(request, socket) {
    this.#native.turnedAway('taken');
    const text = `another listener for upgrades answered a request for this relay; likely: ${suspectedLibraries(request, socket)}`;
    this.#warn(new RelayError('ERR_UPGRADE_TAKEN', text, undefined));
  }
}

module.exports = { UpgradeHandler };
