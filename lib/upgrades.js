'use strict';

// What becomes of requests to upgrade that a server of Node has read: asked about, then served or refused.

const { Buffer } = require('node:buffer');
const { answerOf } = require('./access.js');
const { KeptConnection, TakenConnection } = require('./arrival.js');
const { RelayError } = require('./errors.js');
const { likelyOwner, ownerOf } = require('./neighbours.js');
const { answered, descriptorOf, headOf, ignore, peerOf } = require('./upgrade.js');

/** @type {import('./access.js').Refusal} */
const CLOSING = { why: 'closing', status: 503, text: 'the server is closing', headers: [] };

class UpgradeHandler {
  #native;
  #gate;
  #closeTimeout;
  #bridge;
  #warn;
  #isOpen = true;
  /** Requests that were asked about and have no answer yet. @type {Set<(refusal?: import('./access.js').Refusal) => void>} */
  #waiting = new Set();

  /**
   * @param {object} options
   * @param {import('../native.js').NativeRelay} options.native
   * @param {import('./access.js').Gate} options.gate
   * @param {number} options.closeTimeout
   * @param {(socket: any, native: import('../native.js').NativeBridge, taken: () => void) => void} options.bridge moves the
   *   bytes of a connection that Node keeps, and calls `taken` if somebody else ends it
   * @param {(error: Error) => void} options.warn told when other listeners answer what is ours
   */
  constructor({ native, gate, closeTimeout, bridge, warn }) {
    this.#native = native;
    this.#gate = gate;
    this.#closeTimeout = closeTimeout;
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
    if (socket.writableEnded || socket.headersSent || ownerOf(request, socket) !== undefined) {
      this.#tellTaken(request, socket);
      return;
    }
    if (!socket.readable || !socket.writable) {
      socket.destroy();
      return;
    }
    socket.on('error', ignore);
    const { remoteAddress: peer, encrypted } = peerOf(socket);
    const connection = this.#take(request, socket, head);
    const answer = (/** @type {import('./access.js').Refusal | undefined} */ refusal) => {
      if (connection.isTaken) this.#lose(request, socket);
      else if (connection.isGone) socket.destroy();
      else if (refusal) this.#refuse(connection, refusal);
      else connection.upgrade(headOf(request), peer);
    };
    try {
      if (this.#gate.asks) this.#ask(request, peer, Boolean(encrypted), answer);
      else answer();
    } finally {
      // Not before: the first turn of who is asked may look at the socket. Not later: the other listeners are next.
      connection.release();
    }
  }

  /** Refuses whoever waits for an answer. */
  close() {
    this.#isOpen = false;
    for (const answer of this.#waiting) answer(CLOSING);
  }

  #ask(request, peer, isTls, answer) {
    const { origin, 'x-forwarded-for': forwarded, 'x-forwarded-proto': scheme } = request.headers;
    const { address, secure } = this.#native.caller(peer, isTls, forwarded, scheme);
    const once = (/** @type {import('./access.js').Refusal | undefined} */ refusal) => {
      if (this.#waiting.delete(once)) answer(refusal);
    };
    this.#waiting.add(once);
    this.#gate.ask({ origin, secure, remoteAddress: address, req: request }, once);
  }

  /** Takes a connection from Node at once where that can be done: what stays there others answer too. */
  #take(request, socket, head) {
    // An engine that has closed answers nobody.
    const descriptor = this.#isOpen ? descriptorOf(socket) : undefined;
    const taken = descriptor === undefined ? null : this.#native.takeOver(descriptor);
    if (taken) {
      const early = [head, socket.read()].filter((bytes) => bytes?.length > 0);
      return new TakenConnection(this.#native, taken, socket, Buffer.concat(early));
    }
    return new KeptConnection(this.#native, socket, head, {
      patience: this.#closeTimeout,
      bridge: this.#bridge,
      taken: () => this.#lose(request, socket),
    });
  }

  #refuse(connection, refusal) {
    this.#native.turnedAway(refusal.why);
    connection.refuse(answerOf(refusal));
  }

  /** Another listener has answered too: what the client hears then is neither's. */
  #lose(request, socket) {
    this.#tellTaken(request, socket);
    socket.destroy();
  }

  #tellTaken(request, socket) {
    this.#native.turnedAway('taken');
    const text = `another listener for upgrades answered a request for this relay; likely: ${likelyOwner(request, socket)}`;
    this.#warn(new RelayError('ERR_UPGRADE_TAKEN', text, undefined));
  }
}

module.exports = { UpgradeHandler };
