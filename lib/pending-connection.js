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
  isWritable = true;
  isAnsweredByOther = false;
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

  beforeOtherListeners() {
    this.#socket.destroy();
  }

  /** Whether its client has left, or sent more than it may before it is answered. */
  isAbandoned() {
    return this.#connection.hasLeft();
  }

  /** Calls `onAbandoned` when its client has left, until the function that it returns is called. @param {() => void} onAbandoned */
  watch(onAbandoned) {
    const timer = setInterval(() => this.isAbandoned() && onAbandoned(), LOOK_EVERY);
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
  #onAnsweredByOther;
  #isBegun = false;
  /** What was written to it by us, or before. */
  #written;

  /**
   * @param {import('../native.js').NativeRelay} native
   * @param {any} socket
   * @param {Uint8Array | undefined} head
   * @param {{ refuse: (socket: any, answer: Buffer) => void, bridge: (socket: any, bridge: import('../native.js').NativeBridge, onAnsweredByOther: () => void) => void, onAnsweredByOther: () => void }} options
   *   `refuse` answers and closes, `onAnsweredByOther` is called when another listener answers as well
   */
  constructor(native, socket, head, { refuse, bridge, onAnsweredByOther }) {
    this.#native = native;
    this.#socket = socket;
    this.#early = [head];
    this.#refuse = refuse;
    this.#bridge = bridge;
    this.#onAnsweredByOther = onAnsweredByOther;
    this.#written = this.#countWritten();
  }

  /** Whether somebody else has answered it. */
  get isAnsweredByOther() {
    return this.#socket.writableEnded || this.#countWritten() !== this.#written;
  }

  get isWritable() {
    return !this.#socket.destroyed && this.#socket.writable;
  }

  isAbandoned() {
    // Of a reset 'close' comes only later.
    return this.#socket.destroyed;
  }

  /** Reads what it brings, and calls `onAbandoned` when its client leaves or has sent more than it may. @param {() => void} onAbandoned */
  watch(onAbandoned) {
    const socket = this.#socket;
    let size = 0;
    const read = () => {
      for (let bytes = socket.read(); bytes !== null && size <= MAX_EARLY_BYTES; bytes = socket.read()) {
        this.#early.push(bytes);
        size += bytes.length;
      }
      if (size > MAX_EARLY_BYTES) onAbandoned();
    };
    socket.on('readable', read).on('end', onAbandoned).on('close', onAbandoned);
    return () => socket.off('readable', read).off('end', onAbandoned).off('close', onAbandoned);
  }

  close() {
    // Whoever answered it has ended it.
    if (this.isAnsweredByOther) this.#onAnsweredByOther();
    else this.#socket.destroy();
  }

  /**
   * Begins to answer a request whose answer is not known yet, unless somebody else does at once: engine.io ends what has
   * no byte of an answer after a second.
   */
  beforeOtherListeners() {
    if (this.#isBegun || http2.isStream(this.#socket)) return;
    nextTick(() => {
      if (this.#isBegun || this.isAnsweredByOther || !this.isWritable) return;
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
    nextTick(() => this.isAnsweredByOther && this.#onAnsweredByOther());
    this.#bridge(this.#socket, bridge, this.#onAnsweredByOther);
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
