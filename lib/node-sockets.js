'use strict';

const { performance } = require('node:perf_hooks');
const { SocketBridge } = require('./socket-bridge.js');
const { respondAndClose } = require('./sockets.js');

/** The sockets of one relay that stay with Node: bridged ones, and those of rejected requests. */
class NodeSockets {
  /** @type {Map<number, SocketBridge>} by the engine's number */
  #bridges = new Map();
  /** @type {Set<(timeout: number) => void>} shorten the timeouts of rejected requests */
  #rejected = new Set();
  #closeTimeout;
  #onAllBridgesClosed;
  /** When all sockets are destroyed, as `performance.now()`. */
  #deadline = Infinity;

  /** @param {number} closeTimeout milliseconds @param {() => void} onAllBridgesClosed */
  constructor(closeTimeout, onAllBridgesClosed) {
    this.#closeTimeout = closeTimeout;
    this.#onAllBridgesClosed = onAllBridgesClosed;
  }

  get hasBridges() {
    return this.#bridges.size > 0;
  }

  /**
   * @param {any} socket
   * @param {import('../native.js').NativeBridge} native
   * @param {() => void} onAnsweredByOther
   */
  openBridge(socket, native, onAnsweredByOther) {
    const { number } = native;
    const onClose = () => {
      this.#bridges.delete(number);
      if (!this.hasBridges) this.#onAllBridgesClosed();
    };
    this.#bridges.set(number, new SocketBridge(socket, native, { closeTimeout: this.#closeTimeout, onClose, onAnsweredByOther }));
  }

  /** Runs a bridge that the engine wants something done with. @param {number} number */
  runBridge(number) {
    this.#bridges.get(number)?.run();
  }

  /** @param {any} socket @param {Buffer} response */
  respondAndClose(socket, response) {
    const shorten = respondAndClose(socket, response, Math.min(this.#closeTimeout, this.#timeLeft()));
    this.#rejected.add(shorten);
    socket.once('close', () => this.#rejected.delete(shorten));
  }

  /** Destroys all sockets after a timeout. Called again, the shorter timeout counts. @param {number} timeout milliseconds */
  destroyAfter(timeout) {
    this.#deadline = Math.min(this.#deadline, performance.now() + timeout);
    this.#rejected.forEach((shorten) => shorten(this.#timeLeft()));
  }

  /** Closes all bridges behind what was written to them. */
  closeBridges() {
    this.#bridges.forEach((bridge) => bridge.close(this.#timeLeft()));
  }

  /** For requests that come after the relay has closed, which have the usual timeout again. */
  resetDeadline() {
    this.#deadline = Infinity;
  }

  #timeLeft() {
    return Math.max(0, this.#deadline - performance.now());
  }
}

module.exports = { NodeSockets };
