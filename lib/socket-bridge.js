'use strict';

// Copies bytes between a Node socket and the engine, at the pace of the slower one.

const { performance } = require('node:perf_hooks');
const { nextTick } = require('node:process');
const { isStream } = require('./http2.js');
const { destroyTimer, discardInput, ignore } = require('./sockets.js');

/** Milliseconds after opening in which an unexpected end of the socket is attributed to another listener. */
const JUST_OPENED = 1000;

class SocketBridge {
  #socket;
  #native;
  #closeTimeout;
  /** Whether the socket is closing, behind what was written to it. */
  #isClosing = false;
  #destroyAfter;
  /** Whether `end()` of the socket was called here. */
  #isEnded = false;
  /** Bytes written to the socket by its relay. */
  #written;
  #push = (bytes) => {
    if (!this.#native.push(bytes)) this.#socket.pause();
  };

  /**
   * @param {import('node:stream').Duplex} socket
   * @param {import('../native.js').NativeBridge} native the engine's end
   * @param {object} options
   * @param {number} options.closeTimeout milliseconds
   * @param {() => void} options.onClose called when the socket is closed
   * @param {() => void} options.onAnsweredByOther called when another listener uses the socket
   */
  constructor(socket, native, { closeTimeout, onClose, onAnsweredByOther }) {
    this.#socket = socket;
    this.#native = native;
    this.#closeTimeout = closeTimeout;
    this.#written = socket.bytesWritten;
    socket.setTimeout?.(0);
    socket.setNoDelay?.(true);
    socket.on('data', this.#push);
    socket.on('end', () => native.end());
    socket.on('drain', () => this.run());
    this.#watchEnd(onAnsweredByOther);
    // 'close' follows an error.
    socket.on('error', ignore);
    const close = () => {
      native.close();
      onClose();
    };
    if (socket.closed) nextTick(close);
    else socket.once('close', close);
    if (socket.readableEnded) native.end();
    socket.resume();
  }

  /** @param {() => void} onAnsweredByOther */
  #watchEnd(onAnsweredByOther) {
    const socket = this.#socket;
    const openedAt = performance.now();
    socket.once('finish', () => {
      // Without half-open connections Node ends the socket itself when the client has ended it.
      if (this.#isClosing || this.#isEnded || isStream(socket) || socket.readableEnded) return;
      // Later, it may be an application that shuts down.
      if (socket.bytesWritten !== this.#written || performance.now() - openedAt < JUST_OPENED) onAnsweredByOther();
    });
  }

  /** Does what the engine wants done with the socket. */
  run() {
    if (this.#isClosing) return;
    const { bytes, resume, end, close } = this.#native.fetch(!this.#socket.writableNeedDrain);
    if (bytes) {
      this.#written += bytes.length;
      this.#socket.write(bytes);
    }
    if (close) this.close(this.#closeTimeout);
    else if (end) this.#end();
    if (resume) this.#socket.resume();
  }

  #end() {
    this.#isEnded = true;
    this.#socket.end();
  }

  /**
   * Closes the socket when everything is written, and destroys it after a timeout. May be called again to shorten the
   * timeout.
   * @param {number} timeout milliseconds
   */
  close(timeout) {
    if (this.#isClosing) {
      this.#destroyAfter(timeout);
      return;
    }
    this.#isClosing = true;
    const socket = this.#socket;
    // Closing with bytes unread would reset the connection, and the client might miss the last ones written.
    socket.removeListener('data', this.#push);
    discardInput(socket);
    this.#destroyAfter = destroyTimer(socket);
    this.#destroyAfter(timeout);
    socket.end(() => socket.destroy());
  }
}

module.exports = { SocketBridge };
