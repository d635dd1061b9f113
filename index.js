'use strict';

const dns = require('node:dns');
const { EventEmitter } = require('node:events');
const net = require('node:net');
const { NativeRelay, limits } = require('./native.js');
const { listenError, RelayError } = require('./lib/errors.js');
const { checkCallback, checkClientId, checkOptions } = require('./lib/options.js');

const State = Object.freeze({ STARTING: 'starting', LISTENING: 'listening', CLOSING: 'closing', CLOSED: 'closed' });

class RelayServer extends EventEmitter {
  #state = State.STARTING;
  /** @type {Error | undefined} why it could not listen */
  #failure;
  /** @type {{ address: string, family: string, port: number } | null} */
  #address = null;
  /** @type {((error?: Error) => void)[]} */
  #closeCallbacks = [];
  #native;
  #host;
  #port;

  constructor(options, callback) {
    const { port, host, authorizeAllChannels, settings } = checkOptions(options, limits());
    checkCallback(callback);
    super();
    this.#host = host;
    this.#port = port;
    this.#native = new NativeRelay(authorizeAllChannels, settings, (_error, events) => {
      for (const event of events) this.#emitSafely(() => this.#tell(event));
    });
    this.#native.refLoop();
    if (callback) this.once('listening', callback);
    this.#resolve(host);
  }

  on(name, listener) {
    return this.#want(name, super.on(name, listener));
  }

  addListener(name, listener) {
    return this.#want(name, super.addListener(name, listener));
  }

  prependListener(name, listener) {
    return this.#want(name, super.prependListener(name, listener));
  }

  address() {
    return this.#address && { ...this.#address };
  }

  registerClient() {
    return this.#native.registerClient();
  }

  registerRelayChannel(clientId1, clientId2) {
    checkClientId('clientId1', clientId1);
    checkClientId('clientId2', clientId2);
    try {
      this.#native.registerRelayChannel(clientId1, clientId2);
    } catch (error) {
      const name = error.code === 'ERR_CHANNEL_EXISTS' ? 'ClientsAlreadyHaveChannel' : 'ClientNotFoundException';
      throw Object.assign(error, { name });
    }
  }

  close(callback) {
    checkCallback(callback);
    if (callback === undefined) {
      const closed = new Promise((resolve, reject) => this.close((error) => (error ? reject(error) : resolve())));
      // Who does not wait for it has heard of the failure from 'error'.
      closed.catch(() => {});
      return closed;
    }
    if (this.#state === State.CLOSED) {
      process.nextTick(callback, this.#failure);
      return;
    }
    this.#closeCallbacks.push(callback);
    this.#stop();
  }

  ref() {
    if (this.#state !== State.CLOSED) this.#native.refLoop();
    return this;
  }

  unref() {
    this.#native.unrefLoop();
    return this;
  }

  /** The engine tells only what somebody has ever listened for. */
  #want(name, self) {
    if (typeof name === 'string') this.#native.want(name);
    return self;
  }

  #resolve(host) {
    if (host === undefined || net.isIP(host)) {
      this.#listen(host);
      return;
    }
    dns.lookup(host, (error, ip) => {
      if (this.#state !== State.STARTING) return;
      if (error) this.#emitSafely(() => this.#fail(error));
      else this.#listen(ip);
    });
  }

  #listen(ip) {
    this.#native.listen(ip, this.#port);
  }

  #stop() {
    this.#state = State.CLOSING;
    this.#native.close();
  }

  #fail(error) {
    this.#failure = error;
    this.#stop();
    this.emit('error', error);
  }

  #tell({ name, clientId, code, number, text }) {
    switch (name) {
      case 'listening':
        if (this.#state !== State.STARTING) return;
        this.#state = State.LISTENING;
        this.#address = { address: text, family: `IPv${net.isIP(text)}`, port: number };
        this.emit('listening');
        return;
      case 'listenFailed':
        if (this.#state === State.STARTING) this.#fail(listenError(number, text, this.#host ?? '::', this.#port));
        return;
      case 'connection':
        this.emit('connection', clientId);
        return;
      case 'disconnect':
        this.emit('disconnect', clientId, number, text);
        return;
      case 'error':
        // A stranger's mistake must not crash the process of who does not listen.
        if (this.listenerCount('error') > 0) this.emit('error', new RelayError(code, text, clientId));
        return;
      case 'close':
        this.#closed();
    }
  }

  #closed() {
    this.#state = State.CLOSED;
    this.#address = null;
    this.#native.unrefLoop();
    for (const callback of this.#closeCallbacks.splice(0)) this.#emitSafely(() => callback(this.#failure));
    this.emit('close');
  }

  /** Makes an exception of a listener an ordinary uncaught one, without losing what is to be told after it. */
  #emitSafely(tell) {
    try {
      tell();
    } catch (error) {
      process.nextTick(() => {
        throw error;
      });
    }
  }
}

module.exports = RelayServer;
module.exports.RelayServer = RelayServer;
module.exports.default = RelayServer;
