'use strict';

// The connection of a request to upgrade, until the request is answered.

const { Buffer } = require('node:buffer');
const { nextTick } = require('node:process');
const http2 = require('./http2.js');
const { refuse } = require('./upgrade.js');

/** What every answer begins with. */
const START = Buffer.from('HTTP/1.1 ');

/** A connection that has left Node: nobody else can answer it. */
class TakenConnection {
  /** Whether its client is still there is not known. */
  isGone = false;
  isTaken = false;
  #native;
  #connection;
  #socket;
  #early;

  /**
   * @param {import('../native.js').NativeRelay} native
   * @param {import('../native.js').NativeConnection} connection
   * @param {any} socket what Node had
   * @param {Buffer} early what came behind the request
   */
  constructor(native, connection, socket, early) {
    this.#native = native;
    this.#connection = connection;
    this.#socket = socket;
    this.#early = early;
  }

  release() {
    this.#socket.destroy();
  }

  upgrade(head, peer) {
    this.#native.upgradeTaken(head, this.#early, peer, this.#connection);
  }

  refuse(answer) {
    this.#native.refuseTaken(this.#connection, answer);
  }
}

/** A connection whose bytes go through Node, as with TLS, HTTP/2, pipes and on Windows: others have its socket too. */
class KeptConnection {
  #native;
  #socket;
  #head;
  #patience;
  #bridge;
  #taken;
  #isBegun = false;
  /** What was written to it by us, or before. */
  #written;

  /**
   * @param {import('../native.js').NativeRelay} native
   * @param {any} socket
   * @param {Uint8Array | undefined} head
   * @param {{ patience: number, bridge: (socket: any, bridge: import('../native.js').NativeBridge, taken: () => void) => void, taken: () => void }} options
   *   `patience` is how long a client may take to read a refusal, `taken` is called when another listener answers as well
   */
  constructor(native, socket, head, { patience, bridge, taken }) {
    this.#native = native;
    this.#socket = socket;
    this.#head = head;
    this.#patience = patience;
    this.#bridge = bridge;
    this.#taken = taken;
    this.#written = this.#countWritten();
  }

  /** Whether somebody else has answered it. */
  get isTaken() {
    return this.#socket.writableEnded || this.#countWritten() !== this.#written;
  }

  get isGone() {
    return this.#socket.destroyed || !this.#socket.writable;
  }

  /**
   * Begins to answer a request whose answer is not known yet, unless somebody else does at once: engine.io ends what has
   * no byte of an answer after a second.
   */
  release() {
    if (this.#isBegun || http2.isStream(this.#socket)) return;
    nextTick(() => {
      if (this.#isBegun || this.isTaken || this.isGone) return;
      this.#isBegun = true;
      this.#write(START);
    });
  }

  upgrade(head, peer) {
    const early = [this.#head, this.#socket.read()].filter((bytes) => bytes?.length > 0);
    const { answer, bridge } = this.#native.upgrade(head, Buffer.concat(early), peer);
    if (!bridge) {
      this.refuse(answer);
      return;
    }
    this.#answer(answer);
    // Before it may write: to see what others do in this very turn.
    nextTick(() => this.isTaken && this.#taken());
    this.#bridge(this.#socket, bridge, this.#taken);
  }

  refuse(answer) {
    if (answer.length === 0) this.#socket.destroy();
    else refuse(this.#socket, this.#rest(answer), this.#patience);
    this.#isBegun = true;
  }

  #answer(answer) {
    if (http2.isStream(this.#socket)) {
      http2.respond(this.#socket, answer);
      this.#written = this.#countWritten();
    } else this.#write(this.#rest(answer));
    this.#isBegun = true;
  }

  /** What is left of an answer. @param {Buffer} answer */
  #rest(answer) {
    return this.#isBegun ? answer.subarray(START.length) : answer;
  }

  #write(bytes) {
    this.#socket.write(bytes);
    this.#written = this.#countWritten();
  }

  #countWritten() {
    return http2.isStream(this.#socket) ? Number(this.#socket.headersSent) : (this.#socket.bytesWritten ?? 0);
  }
}

module.exports = { KeptConnection, TakenConnection };
