'use strict';

// Who may come: what the developer gave as `allowedOrigins`, `verifyClient` and `trustProxy`, and how it is asked.

const { Buffer } = require('node:buffer');
const { STATUS_CODES, validateHeaderName, validateHeaderValue } = require('node:http');
const { clearTimeout, setTimeout } = require('node:timers');
const { withZoneName } = require('./address.js');

/**
 * VerifyQueue that the developer's functions have not answered, those of clients that have left included. Each counts for
 * `headersTimeout` at most.
 */
const MAX_UNANSWERED = 8192;

/**
 * @typedef {'allowedOrigins' | 'verifyClient' | 'undecided' | 'closing' | 'taken'} Reason
 * @typedef {{ why: Reason, status: number, text?: string, headers: string[] }} Refusal
 * @typedef {{ origin: string | undefined, secure: boolean, remoteAddress: string | undefined, req: any }} Info
 */

/** Asks the developer's functions about requests. */
class Verifier {
  #isOriginAllowed;
  #verifyClient;
  #patience;
  #fail;
  #unanswered = 0;
  /** Called when there is room for a question again. */
  onFree = () => {};

  /**
   * @param {{ isOriginAllowed?: Function, verifyClient?: Function, patience: number, fail: (error: unknown) => void }} options
   *   `fail` is given what the functions throw
   */
  constructor({ isOriginAllowed, verifyClient, patience, fail }) {
    this.#isOriginAllowed = isOriginAllowed;
    this.#verifyClient = verifyClient;
    this.#patience = patience;
    this.#fail = fail;
  }

  /** Whether there is anything to ask. */
  get asks() {
    return this.#isOriginAllowed !== undefined || this.#verifyClient !== undefined;
  }

  /** Whether there is room for another question. */
  get isFree() {
    return this.#unanswered < MAX_UNANSWERED;
  }

  /**
   * Asks whether a request may come in.
   * @param {Info} info
   * @param {(refusal?: Refusal) => void} done called once, in time
   */
  ask(info, done) {
    this.#unanswered += 1;
    let isDone = false;
    const once = (/** @type {Refusal | undefined} */ refused) => {
      if (isDone) return;
      isDone = true;
      clearTimeout(timer);
      const { isFree } = this;
      this.#unanswered -= 1;
      done(refused);
      if (!isFree) this.onFree();
    };
    const timer = setTimeout(once, this.#patience, refusal('undecided', 503));
    timer.unref();
    this.#call('allowedOrigins', once, (settle) => settle(this.#isOriginAllowed ? this.#isOriginAllowed(info.origin, info) : true), (isAllowed) => {
      if (!isAllowed) once(refusal('allowedOrigins', 403));
      else this.#verify(info, once);
    });
  }

  #verify(info, once) {
    const verify = this.#verifyClient;
    const answer = (/** @type {unknown} */ isAllowed, code = 401, text = undefined, headers = {}) =>
      once(isAllowed ? undefined : refusal('verifyClient', code, text, headers));
    const call = (/** @type {Function} */ action, then = undefined) => this.#call('verifyClient', once, action, then);
    if (!verify) answer(true);
    else if (verify.length >= 2) call(() => verify(info, (...args) => call(() => answer(...args))));
    else call((settle) => settle(verify(info)), (isAllowed) => answer(isAllowed));
  }

  /** Calls what may throw, or give a promise: one that is not waited for would always be true. */
  #call(why, once, call, then = () => {}) {
    const fail = (/** @type {unknown} */ error) => {
      once(refusal(why, 500));
      this.#fail(error);
    };
    const settle = (/** @type {any} */ value) => {
      if (typeof value?.then !== 'function') then(value);
      else value.then(then).then(undefined, fail);
    };
    try {
      call(settle);
    } catch (error) {
      fail(error);
    }
  }
}

/** @returns {Refusal} */
function refusal(why, status, text = undefined, headers = {}) {
  const pairs = Object.entries(headers ?? {}).flatMap(([name, value]) => [value].flat().flatMap((one) => [name, String(one)]));
  const isStatus = Number.isInteger(status) && status >= 300 && status <= 599;
  return { why, status: isStatus ? status : 401, ...(text === undefined ? {} : { text: String(text) }), headers: pairs };
}

/** What an engine's question is to the developer. @returns {Info} */
function infoOf({ url, headers: pairs, secure, address: ip = undefined }) {
  const address = withZoneName(ip);
  /** @type {Record<string, string>} */
  const headers = {};
  for (let n = 0; n < pairs.length; n += 2) {
    const name = pairs[n].toLowerCase();
    // As Node joins them.
    if (!Object.hasOwn(headers, name)) headers[name] = pairs[n + 1];
    else if (!['host', 'origin', 'authorization', 'user-agent', 'referer'].includes(name)) {
      headers[name] += (name === 'cookie' ? '; ' : ', ') + pairs[n + 1];
    }
  }
  const req = { method: 'GET', httpVersion: '1.1', url, headers, socket: { remoteAddress: address, encrypted: secure } };
  return { origin: headers.origin, secure, remoteAddress: address, req };
}

/** The answer to a request that a server of Node has read. @param {Refusal} refused */
function answerOf({ status, text = STATUS_CODES[status] ?? '', headers }) {
  const body = Buffer.from(`${text}\n`);
  const own = new Set(['connection', 'content-length', 'transfer-encoding']);
  let type = 'Content-Type: text/plain; charset=utf-8\r\n';
  const lines = [];
  for (let n = 0; n < headers.length; n += 2) {
    try {
      validateHeaderName(headers[n]);
      validateHeaderValue(headers[n], headers[n + 1]);
    } catch {
      continue;
    }
    const line = `${headers[n]}: ${headers[n + 1]}\r\n`;
    if (headers[n].toLowerCase() === 'content-type') type = line;
    else if (!own.has(headers[n].toLowerCase())) lines.push(line);
  }
  const head = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\nConnection: close\r\nContent-Length: ${body.length}\r\n`;
  return Buffer.concat([Buffer.from(`${head}${type}${lines.join('')}\r\n`, 'latin1'), body]);
}

module.exports = { Verifier, answerOf, infoOf, refusal };
