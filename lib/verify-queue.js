'use strict';

// The questions to the developer about who may come: they wait in bounded queues and are asked a few at a time, and only
// as long as their clients wait for the answer.

const { AsyncResource } = require('node:async_hooks');
const { performance } = require('node:perf_hooks');
const { clearTimeout, setImmediate, setTimeout } = require('node:timers');
const { NativeRequests } = require('../native.js');
const { infoOf, refusal } = require('./verifier.js');

/** Milliseconds of questions after which other work of this thread goes on. */
const SLICE = 5;

/** @type {import('./verifier.js').Refusal} */
const CLOSING = { why: 'closing', status: 503, text: 'the server is closing', headers: [] };

/**
 * @typedef {import('./verifier.js').Info} Info
 * @typedef {import('./verifier.js').Refusal} Refusal
 * @typedef {{ ticket: number, ask: () => void, settle: (refusal?: Refusal) => void }} Request
 */

class VerifyQueue {
  #verifier;
  #takeInquiry;
  #patience;
  #requests = new NativeRequests();
  /** @type {Set<Request>} requests that servers of Node have read */
  #open = new Set();
  /** @type {Map<number, Request>} those of them that wait or were asked about, by ticket */
  #queued = new Map();
  #isRunning = false;
  /** Whether the next question is about a request of a server of Node, if there are both. */
  #isOthersTurn = false;

  /**
   * @param {{ verifier: import('./verifier.js').Verifier, takeInquiry: () => any, patience: number }} options
   *   `takeInquiry` gives the next request of the relay's own port, `patience` is in milliseconds
   */
  constructor({ verifier, takeInquiry, patience }) {
    this.#verifier = verifier;
    this.#takeInquiry = takeInquiry;
    this.#patience = patience;
    verifier.onFree = () => this.run();
  }

  /** Asks what there is to ask. To be called when the engine has inquiries. */
  run() {
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.#askSome();
  }

  /**
   * Asks about a request that a server of Node has read. The connection is closed if its client leaves before.
   * @param {import('./pending-connection.js').PendingConnection} connection
   * @param {Info} info
   * @param {(refusal?: Refusal) => void} done called once, in time, unless the client leaves
   */
  ask(connection, info, done) {
    const abandon = () => {
      if (leave()) connection.close();
    };
    const stop = connection.watch(abandon);
    const request = {
      ticket: -1,
      // The developer's function runs in the context of its request, as if it were called at once.
      ask: AsyncResource.bind(() => {
        if (connection.isAbandoned()) abandon();
        else this.#verifier.ask(info, request.settle);
      }),
      settle: (/** @type {Refusal | undefined} */ refused) => {
        if (leave()) done(refused);
      },
    };
    const leave = () => {
      if (!this.#open.delete(request)) return false;
      clearTimeout(timer);
      stop();
      if (!this.#queued.delete(request.ticket)) return true;
      this.#requests.leave(info.remoteAddress, request.ticket);
      // There may be room for one that waits.
      if (this.#queued.size > 0) this.#runSoon();
      return true;
    };
    const timer = setTimeout(request.settle, this.#patience, refusal('undecided', 503));
    timer.unref();
    this.#open.add(request);
    // Node reads the end of a connection only after it has come back from the event loop once more.
    setImmediate(() => {
      if (this.#open.has(request)) this.#queue(request, info);
    });
  }

  #queue(request, info) {
    const { ticket, evicted } = this.#requests.add(info.remoteAddress, sizeOf(info.req));
    request.ticket = ticket;
    this.#queued.set(ticket, request);
    for (const other of evicted) this.#queued.get(other)?.settle(refusal('undecided', 503));
    this.#runSoon();
  }

  /** Refuses all that servers of Node have read. */
  close() {
    for (const { settle } of [...this.#open]) settle(CLOSING);
  }

  #runSoon() {
    if (this.#isRunning) return;
    this.#isRunning = true;
    setImmediate(() => this.#askSome());
  }

  #askSome() {
    const end = performance.now() + SLICE;
    do {
      if (!this.#verifier.isFree || !this.#askNext()) {
        this.#isRunning = false;
        return;
      }
    } while (performance.now() < end);
    setImmediate(() => this.#askSome());
  }

  /** Asks one question. False when there is none. */
  #askNext() {
    this.#isOthersTurn = !this.#isOthersTurn;
    return this.#isOthersTurn ? this.#askAboutRequest() || this.#askAboutInquiry() : this.#askAboutInquiry() || this.#askAboutRequest();
  }

  #askAboutRequest() {
    const ticket = this.#requests.take();
    if (typeof ticket !== 'number') return false;
    this.#queued.get(ticket)?.ask();
    return true;
  }

  #askAboutInquiry() {
    const inquiry = this.#takeInquiry();
    if (!inquiry) return false;
    this.#verifier.ask(infoOf(inquiry), (refused) => inquiry.answer(refused));
    return true;
  }
}

/** Bytes of a request's head, nearly. */
function sizeOf({ url, rawHeaders = [] }) {
  return rawHeaders.reduce((sum, text) => sum + text.length, url.length);
}

module.exports = { VerifyQueue };
