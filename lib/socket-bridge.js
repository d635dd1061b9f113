'use strict';

const { performance } = require('node:perf_hooks');
const { nextTick } = require('node:process');
const { isStream } = require('./http2.js');
const { destroyer, discard, ignore } = require('./upgrade-request.js');

/** Milliseconds in which an end is taken for the answer of another listener. */
const JUST_OPENED = 1000;

/** Moves bytes between a socket of Node and the engine, at the pace of the slower one. */
class SocketBridge {
  #socket;
  #native;
  #closeTimeout;
  #isOver = false;
  #destroyAfter;
  #isEnded = false;
  #written;
  #push = (bytes) => {
    if (!this.#native.push(bytes)) this.#socket.pause();
  };

  /**
   * @param {import('node:stream').Duplex} socket
   * @param {import('../native.js').NativeBridge} native
   * @param {{ closeTimeout: number, closed: () => void, onAnsweredByOther: () => void }} options `onAnsweredByOther` is called when somebody else
   *   ends the socket
   */
  constructor(socket, native, { closeTimeout, closed, onAnsweredByOther }) {
    this.#socket = socket;
    this.#native = native;
    this.#closeTimeout = closeTimeout;
    this.#written = socket.bytesWritten;
    socket.setTimeout?.(0);
    socket.setNoDelay?.(true);
    socket.on('data', this.#push);
    socket.on('end', () => native.end());
    socket.on('drain', () => this.run());
    const opened = performance.now();
    socket.once('finish', () => {
      // Node ends it itself behind its client, where there are no half-open connections.
      if (this.#isOver || this.#isEnded || isStream(socket) || socket.readableEnded) return;
      // A shutdown ends sockets too.
      if (socket.bytesWritten !== this.#written || performance.now() - opened < JUST_OPENED) onAnsweredByOther();
    });
    // 'close' follows.
    socket.on('error', ignore);
    const close = () => {
      native.breakOff();
      closed();
    };
    if (socket.closed) nextTick(close);
    else socket.once('close', close);
    if (socket.readableEnded) native.end();
    socket.resume();
  }

  /** Does what the engine wants to have done. */
  run() {
    if (this.#isOver) return;
    const { bytes, resume, end, over } = this.#native.fetch(!this.#socket.writableNeedDrain);
    if (bytes) {
      this.#written += bytes.length;
      this.#socket.write(bytes);
    }
    if (over) this.leave(this.#closeTimeout);
    else if (end) this.#end();
    if (resume) this.#socket.resume();
  }

  #end() {
    this.#isEnded = true;
    this.#socket.end();
  }

  /**
   * Closes the socket behind what was written to it, at the latest after so many milliseconds. Called again with fewer, it
   * is closed sooner.
   * @param {number} patience
   */
  leave(patience) {
    if (this.#isOver) {
      this.#destroyAfter(patience);
      return;
    }
    this.#isOver = true;
    const socket = this.#socket;
    // Closing with bytes unread would reset the connection, and the client might miss the last ones written.
    socket.removeListener('data', this.#push);
    discard(socket);
    this.#destroyAfter = destroyer(socket);
    this.#destroyAfter(patience);
    socket.end(() => socket.destroy());
  }
}

module.exports = { SocketBridge };
