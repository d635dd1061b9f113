'use strict';

// The connection of a request to upgrade, until the request is answered.

const { Buffer } = require('node:buffer');
const { nextTick } = require('node:process');
const { clearInterval, setInterval } = require('node:timers');
const http2 = require('./http2.js');

/** Bytes that a client may send behind its request before it is answered, as in the engine. */
const MAX_EARLY_BYTES = 16 * 1024;

/** Milliseconds after which it is looked again whether the client of a connection that has left Node is still there. */
const LOOK_EVERY = 250;

/** @typedef {DetachedConnection | BridgedConnection} PendingConnection */

/** What every answer begins with. */
const START = Buffer.from('HTTP/1.1 ');

/** A connection that has left Node: nobody else can answer it. */
class DetachedConnection {
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

  /** Whether its client has left, or sent more than it may before it is answered. */
  hasLeft() {
    return this.#connection.hasLeft();
  }

  /** Calls `gone` when its client has left, until the function that it returns is called. @param {() => void} gone */
  watch(gone) {
    const timer = setInterval(() => this.hasLeft() && gone(), LOOK_EVERY);
    timer.unref();
    return () => clearInterval(timer);
  }

  close() {
    this.#connection.close();
  }

  upgrade(head, peer) {
    this.#native.upgradeTaken(head, this.#early, peer, this.#connection);
  }

  refuse(answer) {
    this.#native.refuseTaken(this.#connection, answer);
  }
}

/** A connection whose bytes go through Node, as with TLS, HTTP/2, pipes and on Windows: others have its socket too. */
class BridgedConnection {
  #native;
  #socket;
  #early;
  #refuse;
  #bridge;
  #taken;
  #isBegun = false;
  /** What was written to it by us, or before. */
  #written;

  /**
   * @param {import('../native.js').NativeRelay} native
   * @param {any} socket
   * @param {Uint8Array | undefined} head
   * @param {{ refuse: (socket: any, answer: Buffer) => void, bridge: (socket: any, bridge: import('../native.js').NativeBridge, taken: () => void) => void, taken: () => void }} options
   *   `refuse` answers and closes, `taken` is called when another listener answers as well
   */
  constructor(native, socket, head, { refuse, bridge, taken }) {
    this.#native = native;
    this.#socket = socket;
    this.#early = [head];
    this.#refuse = refuse;
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

  hasLeft() {
    // Of a reset 'close' comes only later.
    return this.#socket.destroyed;
  }

  /** Reads what it brings, and calls `gone` when its client leaves or has sent more than it may. @param {() => void} gone */
  watch(gone) {
    const socket = this.#socket;
    let size = 0;
    const read = () => {
      for (let bytes = socket.read(); bytes !== null && size <= MAX_EARLY_BYTES; bytes = socket.read()) {
        this.#early.push(bytes);
        size += bytes.length;
      }
      if (size > MAX_EARLY_BYTES) gone();
    };
    socket.on('readable', read).on('end', gone).on('close', gone);
    return () => socket.off('readable', read).off('end', gone).off('close', gone);
  }

  close() {
    // Whoever answered it has ended it.
    if (this.isTaken) this.#taken();
    else this.#socket.destroy();
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
    const early = [...this.#early, this.#socket.read()].filter((bytes) => bytes?.length > 0);
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
    else this.#refuse(this.#socket, this.#rest(answer));
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

module.exports = { BridgedConnection, DetachedConnection };
