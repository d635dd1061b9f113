'use strict';

const { Buffer } = require('node:buffer');
const dns = require('node:dns');
const net = require('node:net');
const { constants } = require('node:os');
const process = require('node:process');
const { setImmediate } = require('node:timers');
const { limits } = require('./native.js');
const { onAbort } = require('./lib/abort-signal.js');
const { withZoneName } = require('./lib/address.js');
const { DEFAULT_RETRY_AFTER, checkCallback, checkCloseOptions, checkRequest, checkUpgrade } = require('./lib/arguments.js');
const browserClient = require('./lib/browser-client.js');
const { emitClientEvent } = require('./lib/client-events.js');
const { ClientRegistry } = require('./lib/client-registry.js');
const debug = require('./lib/debug.js');
const { createEngine } = require('./lib/create-engine.js');
const { RelayError, callNative, listenError } = require('./lib/errors.js');
const { NodeSockets } = require('./lib/node-sockets.js');
const { ObservedEmitter } = require('./lib/observed-emitter.js');
const { checkOptions } = require('./lib/options.js');
const { readStats } = require('./lib/stats.js');
const { checkCredentials } = require('./lib/tls-options.js');
const { attach } = require('./lib/upgrade-dispatcher.js');
const { UpgradeHandler } = require('./lib/upgrade-handler.js');
const { Verifier } = require('./lib/verifier.js');
const { VerifyQueue } = require('./lib/verify-queue.js');
const { weakCallback } = require('./lib/weak-callback.js');

/** Servers that may not be collected although nothing refers to them: those with a port or connections, or that are closing. */
const running = new Set();

/** The events that the engine reports only if there is a listener. */
const EVENTS = ['connection', 'disconnect', 'expired', 'messagesExpired', 'error'];

const State = Object.freeze({
  STARTING: 'starting',
  LISTENING: 'listening',
  /** The engine is closing. */
  CLOSING: 'closing',
  /** The engine has closed, and sockets of Node are still being written to. */
  FLUSHING: 'flushing',
  CLOSED: 'closed',
});

class RelayServer extends ObservedEmitter {
  #state = State.STARTING;
  /** @type {Error | undefined} why it could not listen, or had to stop */
  #failure;
  /** @type {{ address: string, family: string, port: number } | null} */
  #address = null;
  /** @type {((error?: Error) => void)[]} */
  #closeCallbacks = [];
  #forgetSignal = () => {};
  #native;
  /** @type {ClientRegistry} */
  #registry;
  #host;
  #port;
  /** @type {import('node:http').Server | undefined} the server that it is attached to */
  #server;
  #detach = () => {};
  /** @type {Record<string, number>} */
  #limits;
  /** @type {VerifyQueue | undefined} if there is a function to ask */
  #verifyQueue;
  /** @type {NodeSockets} */
  #sockets;
  /** @type {UpgradeHandler} */
  #upgrades;
  #hasWarned = false;
  /** Whether its port and connections keep the process alive. */
  #isRef = true;
  /** @type {Error | undefined} why the store could not be opened */
  #storeFailure;

  constructor(options, callback) {
    const bounds = limits();
    const checked = checkOptions(options, bounds);
    checkCallback(callback);
    super((name) => this.#listenersChanged(name));
    const { port, host, server, path, settings, signal } = checked;
    this.#host = host;
    this.#port = port;
    this.#server = server;
    this.#limits = Object.fromEntries([...bounds.map((bound) => [bound.name, bound.default]), ...settings.map(({ name, value }) => [name, value])]);
    this.#start(checked);
    this.#listenersChanged();
    if (callback) this.once('listening', callback);
    try {
      if (signal) this.#forgetSignal = onAbort(signal, () => this.close());
      if (this.#storeFailure) {
        this.#failInNextTick(this.#storeFailure);
      } else if (port !== undefined) {
        this.#native.refLoop();
        this.#resolve(host);
        running.add(this);
      } else if (server) {
        this.#detach = attach(server, this, { hasPath: path !== undefined, limits: this.#limits }, () => this.#listening());
      } else {
        process.nextTick(() => this.#listening());
      }
    } catch (error) {
      // The caller gets no server that it could close.
      this.#forgetSignal();
      this.#native.unrefLoop();
      this.#native.close();
      throw error;
    }
  }

  /** Creates the engine and what serves the requests of Node servers. */
  #start({ port, path, serveClient, authorizeAllChannels, settings, credentials, metrics, access, store }) {
    const { headersTimeout: timeout, closeTimeout } = this.#limits;
    const { script, sourceMap } = port !== undefined && serveClient ? browserClient() : {};
    const { origins, isOriginAllowed, verifyClient, trust } = access;
    const onError = (error) => this.#emitSafely(() => { throw error; });
    const verifier = new Verifier({ isOriginAllowed, verifyClient, timeout, onError });
    const rules = { ...trust, origins, hasVerifier: verifier.isNeeded };
    const engineOptions = { authorizeAllChannels, settings, credentials, path, script, sourceMap, metrics, rules, store };
    const callbacks = [RelayServer.#onEvents, RelayServer.#runBridges, RelayServer.#runVerifyQueue];
    const { native, storeFailure } = createEngine(engineOptions, callbacks.map((call) => weakCallback(this, call)));
    this.#native = native;
    this.#storeFailure = storeFailure;
    const onDataExpires = () => this.#listenersChanged('expired');
    this.#registry = new ClientRegistry(native, { onDataExpires, hasStore: store !== undefined, failure: storeFailure });
    if (verifier.isNeeded) this.#verifyQueue = new VerifyQueue({ verifier, takeVerifyRequest: () => native.takeVerifyRequest(), timeout });
    this.#sockets = new NodeSockets(closeTimeout, () => this.#closeWhenFlushed());
    this.#upgrades = new UpgradeHandler({
      native,
      verifyQueue: this.#verifyQueue,
      adopt: (upgrade) => this.#adopt(upgrade),
      respondAndClose: (socket, response) => this.#sockets.respondAndClose(socket, response),
      openBridge: (socket, bridge, onAnsweredByOther) => this.#sockets.openBridge(socket, bridge, onAnsweredByOther),
      warn: (error) => this.#warn(error),
    });
  }

  address() {
    const address = this.#server && this.#state !== State.CLOSED ? this.#server.address() : this.#address;
    // The address of a pipe is a string.
    return typeof address === 'object' && address ? { ...address } : null;
  }

  shouldHandle(request) {
    checkRequest(request);
    return this.#native.shouldHandle(Buffer.from(request.url, 'latin1'));
  }

  handleUpgrade(request, socket, head) {
    checkUpgrade(request, socket, head);
    this.#upgrades.handle(request, socket, head);
  }

  registerClient(options) {
    return this.#registry.register(options);
  }

  registerClients(count, options) {
    return this.#registry.registerMany(count, options);
  }

  unregisterClient(clientId) {
    this.#registry.unregister(clientId);
  }

  refreshToken(clientId, options) {
    return this.#registry.refreshToken(clientId, options);
  }

  disconnectClient(clientId, code = 1000, reason = '') {
    return this.#registry.disconnect(clientId, code, reason);
  }

  isConnected(clientId) {
    return this.#registry.isConnected(clientId);
  }

  clients() {
    return this.#registry.clients();
  }

  registerRelayChannel(clientId1, clientId2) {
    this.#registry.registerChannel(clientId1, clientId2);
  }

  registerRelayChannels(clientId, clientIds) {
    if (typeof clientId === 'object' || clientIds === undefined) return this.#registry.registerRoom(clientId);
    return this.#registry.registerChannels(clientId, clientIds);
  }

  unregisterRelayChannel(clientId1, clientId2) {
    this.#registry.unregisterChannel(clientId1, clientId2);
  }

  stats() {
    return readStats(this.#native);
  }

  setSecureContext(options) {
    const credentials = checkCredentials(Object(options)) ?? { certs: [], keys: [], ca: [], requestCert: false };
    callNative(() => this.#native.setCredentials(credentials));
  }

  close(options, callback) {
    if (typeof options === 'function' && callback === undefined) [options, callback] = [undefined, options];
    const drain = checkCloseOptions(options);
    checkCallback(callback);
    if (callback === undefined) {
      const closed = new Promise((resolve, reject) => {
        this.close(options, (error) => (error ? reject(error) : resolve()));
      });
      // The failure was an 'error' event; a promise that nobody awaits must not make it an unhandled rejection too.
      closed.catch(() => {});
      return closed;
    }
    if (this.#state === State.CLOSED) {
      process.nextTick(callback, this.#failure);
      return;
    }
    this.#closeCallbacks.push(callback);
    this.#stop(drain);
  }

  // Before 20.5.1 Node has no such symbol.
  [Symbol.asyncDispose ?? Symbol.for('nodejs.asyncDispose')]() {
    return this.close();
  }

  ref() {
    return this.#setRef(true);
  }

  unref() {
    return this.#setRef(false);
  }

  /** Without a port of its own, the http server keeps the process alive, and the relay only while it is closing. */
  #setRef(isRef) {
    this.#isRef = isRef;
    this.#native.refAdopted(isRef);
    const needsLoop = this.#isOpen() ? this.#port !== undefined : this.#state !== State.CLOSED;
    if (isRef && needsLoop) this.#native.refLoop();
    else this.#native.unrefLoop();
    return this;
  }

  /** Tells the engine which events to report. @param {string} [name] an event, or all if omitted */
  #listenersChanged(name) {
    for (const event of name === undefined ? EVENTS : EVENTS.filter((other) => other === name)) {
      const isNeeded = debug.enabled || (event === 'expired' && this.#registry.dataExpires);
      this.#native.setInterest(event, isNeeded || this.listenerCount(event) > 0);
    }
  }

  /** Hands a connection of a Node server to the engine. */
  #adopt(upgrade) {
    // Until the engine reports that the last such connection has ended.
    running.add(this);
    upgrade();
    this.#allowCollection();
  }

  /** Allows the server to be collected, unless it still has something to do. */
  #allowCollection() {
    const isClosing = this.#state === State.CLOSING || this.#state === State.FLUSHING;
    if (this.#port === undefined && !this.#native.hasAdopted && !isClosing) running.delete(this);
  }

  #resolve(host) {
    if (host === undefined || net.isIP(host)) {
      // In the next tick: clients that are registered in this one can connect as soon as the port is open.
      process.nextTick(() => this.#state === State.STARTING && this.#listen(host));
      return;
    }
    dns.lookup(host, (error, ip) => {
      if (this.#state !== State.STARTING) return;
      if (error) this.#emitSafely(() => this.#fail(error));
      else this.#listen(ip);
    });
  }

  #listen(ip) {
    try {
      callNative(() => this.#native.listen(ip, this.#port));
    } catch {
      // The zone names no interface.
      this.#failInNextTick(listenError(constants.errno.EINVAL, '', this.#host, this.#port));
    }
  }

  #isOpen() {
    return this.#state === State.STARTING || this.#state === State.LISTENING;
  }

  #listening() {
    if (!this.#isOpen()) return;
    this.#state = State.LISTENING;
    this.emit('listening');
  }

  /** In the next tick, for listeners that are added after the construction. */
  #failInNextTick(error) {
    process.nextTick(() => this.#state === State.STARTING && this.#emitSafely(() => this.#fail(error)));
  }

  #fail(error) {
    this.#failure = error;
    this.#stop();
    this.emit('error', error);
  }

  /** @param {{ timeout: number, retryAfter: number }} [drain] */
  #stop(drain) {
    if (this.#isOpen()) {
      this.#state = State.CLOSING;
      this.#detach();
      running.add(this);
      this.#upgrades.close();
      // Before the engine closes, which sends no response afterwards.
      this.#verifyQueue?.close();
      // Until the engine reports that it has closed.
      if (this.#isRef) this.#native.refLoop();
    }
    // Also if it is closing already: a later call may shorten the timeout.
    if (drain) this.#native.drain(drain.timeout, drain.retryAfter);
    else this.#native.close();
    this.#sockets.destroyAfter(drain?.timeout ?? this.#limits.closeTimeout);
    if (this.#state === State.FLUSHING) this.#sockets.closeBridges();
  }

  /** The engine has closed every connection. Sockets of Node may have something left to write. */
  #flush() {
    this.#state = State.FLUSHING;
    RelayServer.#runBridges(this);
    this.#sockets.closeBridges();
    this.#closeWhenFlushed();
  }

  #closeWhenFlushed() {
    if (this.#state !== State.FLUSHING || this.#sockets.hasBridges) return;
    this.#state = State.CLOSED;
    this.#sockets.resetDeadline();
    this.#forgetSignal();
    this.#address = null;
    this.#dispose();
    running.delete(this);
    for (const callback of this.#closeCallbacks.splice(0)) this.#emitSafely(() => callback(this.#failure));
    this.emit('close');
  }

  /** Frees what the engine holds, after it has written everything to its store. */
  #dispose() {
    try {
      callNative(() => this.#native.dispose());
    } catch (error) {
      // Otherwise it was reported when it happened.
      if (!this.#failure) this.#report(error);
      this.#failure ??= error;
    }
  }

  /** Handles each event in its own turn, so that a listener added after the one before receives it, even behind an `await`. */
  static #onEvents(server, events) {
    for (const event of events) setImmediate(() => server.#emitSafely(() => server.#handleEvent(event)));
    if (events.length > 0) setImmediate(() => server.#native.batchHandled());
  }

  static #runBridges(server) {
    for (const number of server.#native.bridgesWithCommands()) server.#emitSafely(() => server.#sockets.runBridge(number));
  }

  static #runVerifyQueue(server) {
    server.#verifyQueue?.run();
  }

  #handleEvent(event) {
    const { name, number, text } = event;
    switch (name) {
      case 'listening':
        if (this.#state !== State.STARTING) return;
        this.#address = { address: withZoneName(text), family: `IPv${net.isIP(text)}`, port: number };
        this.#listening();
        return;
      case 'listenFailed':
        if (this.#state === State.STARTING) this.#fail(listenError(number, text, this.#host ?? '::', this.#port));
        return;
      case 'storeFailed':
        this.#storeFailed(new RelayError(event.code, text));
        return;
      case 'adoptedConnectionsEnded':
        this.#allowCollection();
        return;
      case 'close':
        this.#flush();
        return;
      default:
        emitClientEvent(this, this.#registry, event);
    }
  }

  /** Reports a mistake in how the server is used: as an 'error' event, or else as a process warning, once. @param {any} error */
  #warn(error) {
    debug('%s: %s', error.code, error.message);
    if (this.listenerCount('error') > 0 || !this.#hasWarned) this.#emitSafely(() => this.#report(error));
    this.#hasWarned = true;
  }

  /** Emits an error that must not end the process, which `emit('error')` does without a listener. @param {any} error */
  #report(error) {
    if (this.listenerCount('error') > 0) this.emit('error', error);
    else process.emitWarning(error.message, { code: error.code });
  }

  /** The disk is full, and the store tries again; or the store is closed, and the server closes. @param {any} error */
  #storeFailed(error) {
    debug('%s: %s', error.code, error.message);
    if (error.code !== 'ERR_STORE_FULL') {
      this.#failure = error;
      this.#stop({ timeout: this.#limits.closeTimeout, retryAfter: DEFAULT_RETRY_AFTER });
    }
    this.#report(error);
  }

  /** Rethrows exceptions of listeners as uncaught ones, so that what follows still runs. */
  #emitSafely(emit) {
    try {
      emit();
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
