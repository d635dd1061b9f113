'use strict';

// The requests that wait for the developer's functions. They are verified a few at a time, in turn by address, and only
// while their clients wait.

const { AsyncResource } = require('node:async_hooks');
const { performance } = require('node:perf_hooks');
const { clearTimeout, setImmediate, setTimeout } = require('node:timers');
const { NativeVerifyQueue } = require('../native.js');
const { withZoneName } = require('./address.js');
const { CLOSING, UNDECIDED } = require('./rejection.js');

/** Milliseconds for which requests are verified before other work of this thread goes on. */
const SLICE = 5;

/**
 * @typedef {import('./verifier.js').ClientInfo} ClientInfo
 * @typedef {import('./rejection.js').Rejection} Rejection
 * @typedef {{ ticket: number, verify: () => void, settle: (rejection?: Rejection) => void }} Request
 */

class VerifyQueue {
  #verifier;
  #takeVerifyRequest;
  #timeout;
  #queue = new NativeVerifyQueue();
  /** @type {Set<Request>} requests of Node servers that are not decided about */
  #open = new Set();
  /** @type {Map<number, Request>} those of them that have a ticket of `#queue` */
  #queued = new Map();
  #isRunning = false;
  /** Whether a request of a Node server goes first, if requests of the relay's own port wait too. */
  #isNodeFirst = false;

  /**
   * @param {object} options
   * @param {import('./verifier.js').Verifier} options.verifier
   * @param {() => any} options.takeVerifyRequest returns the next request of the relay's own port, if there is one
   * @param {number} options.timeout milliseconds that a request of a Node server may wait
   */
  constructor({ verifier, takeVerifyRequest, timeout }) {
    this.#verifier = verifier;
    this.#takeVerifyRequest = takeVerifyRequest;
    this.#timeout = timeout;
    verifier.onCapacity = () => this.run();
  }

  /** Verifies the waiting requests. Called by the engine when its own queue is no longer empty. */
  run() {
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.#runSlice();
  }

  /**
   * Adds a request of a Node server. If its client leaves before the decision, the connection is closed.
   * @param {import('./pending-connection.js').PendingConnection} connection
   * @param {ClientInfo} info
   * @param {(rejection?: Rejection) => void} done called once within the timeout, unless the client leaves
   */
  add(connection, info, done) {
    const abandon = () => {
      if (remove()) connection.close();
    };
    const unwatch = connection.watch(abandon);
    const request = {
      ticket: -1,
      // Bound, so that the developer's functions run in the async context of their request.
      verify: AsyncResource.bind(() => {
        if (connection.isAbandoned()) abandon();
        else this.#verifier.verify(info, request.settle);
      }),
      settle: (/** @type {Rejection | undefined} */ rejected) => {
        if (remove()) done(rejected);
      },
    };
    const remove = () => {
      if (!this.#open.delete(request)) return false;
      clearTimeout(timer);
      unwatch();
      if (!this.#queued.delete(request.ticket)) return true;
      this.#queue.remove(info.remoteAddress, request.ticket);
      // There may be capacity for another one now.
      if (this.#queued.size > 0) this.#runSoon();
      return true;
    };
    const timer = setTimeout(request.settle, this.#timeout, UNDECIDED);
    timer.unref();
    this.#open.add(request);
    // Node notices the end of a connection only in the next turn of the event loop.
    setImmediate(() => {
      if (this.#open.has(request)) this.#enqueue(request, info);
    });
  }

  /** @param {Request} request @param {ClientInfo} info */
  #enqueue(request, info) {
    const { ticket, evicted } = this.#queue.add(info.remoteAddress, headSize(info.req));
    request.ticket = ticket;
    this.#queued.set(ticket, request);
    for (const other of evicted) this.#queued.get(other)?.settle(UNDECIDED);
    this.#runSoon();
  }

  /** Rejects all requests of Node servers. */
  close() {
    for (const { settle } of [...this.#open]) settle(CLOSING);
  }

  #runSoon() {
    if (this.#isRunning) return;
    this.#isRunning = true;
    setImmediate(() => this.#runSlice());
  }

  #runSlice() {
    const end = performance.now() + SLICE;
    do {
      if (!this.#verifier.hasCapacity || !this.#verifyNext()) {
        this.#isRunning = false;
        return;
      }
    } while (performance.now() < end);
    setImmediate(() => this.#runSlice());
  }

  /** Verifies one request, alternating between the two queues. Returns whether there was one. */
  #verifyNext() {
    this.#isNodeFirst = !this.#isNodeFirst;
    return this.#isNodeFirst ? this.#verifyFromNode() || this.#verifyFromPort() : this.#verifyFromPort() || this.#verifyFromNode();
  }

  #verifyFromNode() {
    const ticket = this.#queue.take();
    if (typeof ticket !== 'number') return false;
    this.#queued.get(ticket)?.verify();
    return true;
  }

  #verifyFromPort() {
    const request = this.#takeVerifyRequest();
    if (!request) return false;
    this.#verifier.verify(clientInfo(request), (rejected) => request.answer(rejected));
    return true;
  }
}

/** Headers that occur once: as in Node, further ones are dropped. */
const SINGLE_HEADERS = new Set(['host', 'origin', 'authorization', 'user-agent', 'referer']);

/** Returns what the functions are told about a request of the relay's own port. @returns {ClientInfo} */
function clientInfo({ url, headers: pairs, secure, address = undefined }) {
  const remoteAddress = withZoneName(address);
  /** @type {Record<string, string>} */
  const headers = {};
  for (let n = 0; n < pairs.length; n += 2) {
    const name = pairs[n].toLowerCase();
    // Joined as Node does it.
    if (!Object.hasOwn(headers, name)) headers[name] = pairs[n + 1];
    else if (!SINGLE_HEADERS.has(name)) headers[name] += (name === 'cookie' ? '; ' : ', ') + pairs[n + 1];
  }
  const req = { method: 'GET', httpVersion: '1.1', url, headers, socket: { remoteAddress, encrypted: secure } };
  return { origin: headers.origin, secure, remoteAddress, req };
}

/** Returns the approximate size of a request's head, in bytes. */
function headSize({ url, rawHeaders = [] }) {
  return rawHeaders.reduce((sum, text) => sum + text.length, url.length);
}

module.exports = { VerifyQueue };
