'use strict';

// The connection of an upgrade request, until the request is answered.

const { Buffer } = require('node:buffer');
const { nextTick } = require('node:process');
const { clearInterval, setInterval } = require('node:timers');
const { MAX_EARLY_BYTES } = require('./engine.js');
const http2 = require('./http2.js');

/** Milliseconds between two checks whether the client of a detached connection is still there. */
const CHECK_INTERVAL = 250;

/** The bytes that every response begins with. */
const RESPONSE_START = Buffer.from('HTTP/1.1 ');

/** @typedef {DetachedConnection | BridgedConnection} PendingConnection */

/** A connection whose file descriptor the engine has duplicated: no other listener can answer it. */
class DetachedConnection {
  isWritable = true;
  isAnsweredByOther = false;
  #native;
  #connection;
  #socket;
  #early;

  /**
   * @param {import('../native.js').NativeRelay} native
   * @param {import('../native.js').NativeAdoptedConnection} connection the engine's duplicate
   * @param {any} socket Node's socket
   * @param {Buffer} early bytes received behind the request
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

  /** Whether the client has left, or has sent more than `MAX_EARLY_BYTES`. */
  isAbandoned() {
    return this.#connection.isAbandoned();
  }

  /**
   * Calls a function when the connection is abandoned.
   * @param {() => void} onAbandoned
   * @returns {() => void} stops watching
   */
  watch(onAbandoned) {
    const timer = setInterval(() => this.isAbandoned() && onAbandoned(), CHECK_INTERVAL);
    timer.unref();
    return () => clearInterval(timer);
  }

  close() {
    this.#connection.close();
  }

  /** Hands the connection to the engine. @param {Buffer} head the request @param {string | undefined} peer its address */
  upgrade(head, peer) {
    this.#native.upgradeAdopted(head, this.#early, peer, this.#connection);
  }

  /** @param {Buffer} response */
  reject(response) {
    this.#native.rejectAdopted(this.#connection, response);
  }
}

/**
 * A connection whose socket stays with Node, as with TLS, HTTP/2, pipes and on Windows. Other listeners have the socket
 * too.
 */
class BridgedConnection {
  #native;
  #socket;
  #early;
  #respondAndClose;
  #openBridge;
  #onAnsweredByOther;
  /** Whether the response has begun. */
  #isBegun = false;
  /** `#countWritten()` after the last write of ours. */
  #written;

  /**
   * @param {import('../native.js').NativeRelay} native
   * @param {any} socket
   * @param {Uint8Array | undefined} head bytes received behind the request
   * @param {object} options
   * @param {(socket: any, response: Buffer) => void} options.respondAndClose
   * @param {(socket: any, bridge: import('../native.js').NativeBridge, onAnsweredByOther: () => void) => void} options.openBridge
   * @param {() => void} options.onAnsweredByOther called when another listener answers too
   */
  constructor(native, socket, head, { respondAndClose, openBridge, onAnsweredByOther }) {
    this.#native = native;
    this.#socket = socket;
    this.#early = [head];
    this.#respondAndClose = respondAndClose;
    this.#openBridge = openBridge;
    this.#onAnsweredByOther = onAnsweredByOther;
    this.#written = this.#countWritten();
  }

  /** Whether another listener has written to the socket or ended it. */
  get isAnsweredByOther() {
    return this.#socket.writableEnded || this.#countWritten() !== this.#written;
  }

  get isWritable() {
    return !this.#socket.destroyed && this.#socket.writable;
  }

  /** Whether the client has left. */
  isAbandoned() {
    // Not by 'close', which follows a reset only later.
    return this.#socket.destroyed;
  }

  /**
   * Reads what the client sends, and calls a function when it leaves or sends more than `MAX_EARLY_BYTES`.
   * @param {() => void} onAbandoned
   * @returns {() => void} stops reading
   */
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
    // Another listener that has answered ends the socket itself.
    if (this.isAnsweredByOther) this.#onAnsweredByOther();
    else this.#socket.destroy();
  }

  /** Begins the response, unless another listener answers in this turn: engine.io ends sockets that are silent for a second. */
  beforeOtherListeners() {
    if (this.#isBegun || http2.isStream(this.#socket)) return;
    nextTick(() => {
      if (this.#isBegun || this.isAnsweredByOther || !this.isWritable) return;
      this.#isBegun = true;
      this.#write(RESPONSE_START);
    });
  }

  /** Hands the connection to the engine. @param {Buffer} head the request @param {string | undefined} peer its address */
  upgrade(head, peer) {
    const early = [...this.#early, this.#socket.read()].filter((bytes) => bytes?.length > 0);
    const { response, bridge } = this.#native.upgrade(head, Buffer.concat(early), peer);
    if (!bridge) {
      this.reject(response);
      return;
    }
    this.#respond(response);
    // Before the bridge writes, to see what other listeners do in this turn.
    nextTick(() => this.isAnsweredByOther && this.#onAnsweredByOther());
    this.#openBridge(this.#socket, bridge, this.#onAnsweredByOther);
  }

  /** @param {Buffer} response */
  reject(response) {
    if (response.length === 0) this.#socket.destroy();
    else this.#respondAndClose(this.#socket, this.#remainder(response));
    this.#isBegun = true;
  }

  /** @param {Buffer} response */
  #respond(response) {
    if (http2.isStream(this.#socket)) {
      http2.respond(this.#socket, response);
      this.#written = this.#countWritten();
    } else this.#write(this.#remainder(response));
    this.#isBegun = true;
  }

  /** Returns what is not written of a response. @param {Buffer} response */
  #remainder(response) {
    return this.#isBegun ? response.subarray(RESPONSE_START.length) : response;
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
