'use strict';

// Asks the functions given as `allowedOrigins` and `verifyClient` whether a client may connect.

const { clearTimeout, setTimeout } = require('node:timers');
const { MAX_UNANSWERED_VERIFICATIONS } = require('./engine.js');
const { UNDECIDED, rejection } = require('./rejection.js');

/**
 * @typedef {import('./rejection.js').Rejection} Rejection
 * @typedef {{ origin: string | undefined, secure: boolean, remoteAddress: string | undefined, req: any }} ClientInfo
 *   what the functions are given
 */

class Verifier {
  #isOriginAllowed;
  #verifyClient;
  #timeout;
  #onError;
  #pending = 0;
  /** Called when `hasCapacity` becomes true. */
  onCapacity = () => {};

  /**
   * @param {object} options
   * @param {Function} [options.isOriginAllowed]
   * @param {Function} [options.verifyClient]
   * @param {number} options.timeout milliseconds within which the functions must decide
   * @param {(error: unknown) => void} options.onError called with exceptions of the functions
   */
  constructor({ isOriginAllowed, verifyClient, timeout, onError }) {
    this.#isOriginAllowed = isOriginAllowed;
    this.#verifyClient = verifyClient;
    this.#timeout = timeout;
    this.#onError = onError;
  }

  /** Whether there is a function to ask. */
  get isNeeded() {
    return this.#isOriginAllowed !== undefined || this.#verifyClient !== undefined;
  }

  /** Whether another request may be passed to the functions now. */
  get hasCapacity() {
    return this.#pending < MAX_UNANSWERED_VERIFICATIONS;
  }

  /**
   * Decides about a request.
   * @param {ClientInfo} info
   * @param {(rejection?: Rejection) => void} done called once, within the timeout
   */
  verify(info, done) {
    this.#pending += 1;
    let isDone = false;
    const settle = (/** @type {Rejection | undefined} */ rejected) => {
      if (isDone) return;
      isDone = true;
      clearTimeout(timer);
      const hadCapacity = this.hasCapacity;
      this.#pending -= 1;
      done(rejected);
      if (!hadCapacity) this.onCapacity();
    };
    const timer = setTimeout(settle, this.#timeout, UNDECIDED);
    timer.unref();
    const isOriginAllowed = this.#isOriginAllowed ?? (() => true);
    this.#call('allowedOrigins', settle, (resolve) => resolve(isOriginAllowed(info.origin, info)), (isAllowed) => {
      if (isAllowed) this.#callVerifyClient(info, settle);
      else settle(rejection('allowedOrigins', 403));
    });
  }

  /** @param {ClientInfo} info @param {(rejection?: Rejection) => void} settle */
  #callVerifyClient(info, settle) {
    const verify = this.#verifyClient;
    const answer = (/** @type {unknown} */ isAllowed, code = 401, text = undefined, headers = {}) =>
      settle(isAllowed ? undefined : rejection('verifyClient', code, text, headers));
    const call = (/** @type {Function} */ action, then = undefined) => this.#call('verifyClient', settle, action, then);
    if (!verify) answer(true);
    else if (verify.length >= 2) call(() => verify(info, (...args) => call(() => answer(...args))));
    else call((resolve) => resolve(verify(info)), (isAllowed) => answer(isAllowed));
  }

  /**
   * Calls a function that may throw, or return a promise. Exceptions reject the request.
   * @param {import('./rejection.js').Reason} reason
   * @param {(rejection?: Rejection) => void} settle
   * @param {Function} call given `resolve`
   * @param {(value: any) => void} then given what was resolved, awaited if it is a promise
   */
  #call(reason, settle, call, then = () => {}) {
    const fail = (/** @type {unknown} */ error) => {
      settle(rejection(reason, 500));
      this.#onError(error);
    };
    const resolve = (/** @type {any} */ value) => {
      if (typeof value?.then !== 'function') then(value);
      else value.then(then).then(undefined, fail);
    };
    try {
      call(resolve);
    } catch (error) {
      fail(error);
    }
  }
}

module.exports = { Verifier };
