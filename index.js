'use strict';

const { Buffer } = require('node:buffer');
const dns = require('node:dns');
const { EventEmitter } = require('node:events');
const net = require('node:net');
const { constants } = require('node:os');
const { performance } = require('node:perf_hooks');
const process = require('node:process');
const { setImmediate } = require('node:timers');
const { debuglog } = require('node:util');
const { NativeRelay, limits } = require('./native.js');
const { Verifier } = require('./lib/verifier.js');
const { withZoneName } = require('./lib/address.js');
const {
  checkCallback,
  checkClientId,
  checkClientIds,
  checkClose,
  checkCloseOptions,
  checkRegistrationOptions,
  checkRequest,
  checkUpgrade,
} = require('./lib/arguments.js');
const { attach } = require('./lib/upgrade-dispatcher.js');
const { SocketBridge } = require('./lib/socket-bridge.js');
const { listenError, RelayError } = require('./lib/errors.js');
const { checkOptions } = require('./lib/options.js');
const { printable } = require('./lib/printable.js');
const { VerifyQueue } = require('./lib/verify-queue.js');
const browserClient = require('./lib/browser-client.js');
const { onAbort } = require('./lib/abort-signal.js');
const { refuse } = require('./lib/upgrade-request.js');
const { checkCredentials } = require('./lib/tls-options.js');
const { UpgradeHandler } = require('./lib/upgrade-handler.js');

/** Tracing, with `NODE_DEBUG=websocket-relay`. Tokens never go in. */
const debug = debuglog('websocket-relay');

/** The `name`s that errors of these codes have. */
const ERROR_NAMES = {
  ERR_CLIENT_NOT_FOUND: 'ClientNotFoundException',
  ERR_CHANNEL_EXISTS: 'ClientsAlreadyHaveChannel',
  ERR_CHANNEL_NOT_FOUND: 'ClientsHaveNoChannel',
};

/** Servers that go on without a reference: they listen on a port of their own, have connections, or are closing. */
const running = new Set();

/** The events that the engine tells only if somebody listens for them. */
const EVENTS = ['connection', 'disconnect', 'expired', 'messagesExpired', 'error'];

const State = Object.freeze({ STARTING: 'starting', LISTENING: 'listening', CLOSING: 'closing', ENDING: 'ending', CLOSED: 'closed' });

class RelayServer extends EventEmitter {
  #state = State.STARTING;
  /** @type {Error | undefined} why it could not listen */
  #failure;
  /** @type {{ address: string, family: string, port: number } | null} */
  #address = null;
  /** @type {((error?: Error) => void)[]} */
  #closeCallbacks = [];
  #forgetSignal = () => {};
  #native;
  #host;
  #port;
  /** @type {import('node:http').Server | undefined} the server of somebody else that it is attached to */
  #server;
  /** Leaves that server, where there is one. */
  #detach = () => {};
  #limits;
  /** @type {Verifier} the developer's own rules of who may come */
  #verifier;
  /** @type {VerifyQueue | undefined} where there is anything to ask */
  #verifyQueue;
  /** @type {Map<number, SocketBridge>} */
  #bridges = new Map();
  /** @type {Set<(patience: number) => void>} what closes sockets sooner that are being refused */
  #refused = new Set();
  /** When everything is cut that is not closed, once it is closing, on the clock of `performance`. */
  #deadline = Infinity;
  /** @type {UpgradeHandler} requests that a server of Node has read */
  #upgrades;
  /** One warning is enough. */
  #hasWarned = false;
  /** Whether what is its own keeps the process alive. */
  #counts = true;
  /** @type {Map<number, unknown>} what was given as `data` */
  #data = new Map();
  /** Whether `data` is to be forgotten when registrations expire. */
  #dataExpires = false;

  constructor(options, callback) {
    const bounds = limits();
    const { port, host, server, path, serveClient, authorizeAllChannels, settings, credentials, signal, metrics, access } =
      checkOptions(options, bounds);
    checkCallback(callback);
    super();
    this.#host = host;
    this.#port = port;
    this.#server = server;
    this.#limits = Object.fromEntries([
      ...bounds.map((bound) => [bound.name, bound.default]),
      ...settings.map(({ name, value }) => [name, value]),
    ]);
    const { script, sourceMap } = port !== undefined && serveClient ? browserClient() : {};
    const { origins, isOriginAllowed, verifyClient, trust } = access;
    const fail = (error) => this.#emitSafely(() => { throw error; });
    this.#verifier = new Verifier({ isOriginAllowed, verifyClient, patience: this.#limits.headersTimeout, fail });
    const rules = { ...trust, origins, asks: this.#verifier.asks };
    const native = callNative(
      () =>
        new NativeRelay(
          { authorizeAllChannels, settings, credentials, path, script, sourceMap, metrics, rules },
          weakly(this, RelayServer.#deliver),
          weakly(this, RelayServer.#runErrands),
          weakly(this, RelayServer.#runVerifyQueue),
        ),
    );
    this.#native = native;
    if (this.#verifier.asks) {
      this.#verifyQueue = new VerifyQueue({ verifier: this.#verifier, takeInquiry: () => native.takeInquiry(), patience: this.#limits.headersTimeout });
    }
    this.#upgrades = new UpgradeHandler({
      native,
      verifyQueue: this.#verifyQueue,
      adopt: (serve) => this.#adopt(serve),
      refuse: (socket, answer) => this.#refuse(socket, answer),
      bridge: (socket, bridge, onAnsweredByOther) => this.#bridge(socket, bridge, onAnsweredByOther),
      warn: (error) => this.#warn(error),
    });
    EVENTS.forEach((name) => this.#want(name));
    if (callback) this.once('listening', callback);
    try {
      if (signal) this.#forgetSignal = onAbort(signal, () => this.close());
      if (port !== undefined) {
        this.#native.refLoop();
        this.#resolve(host);
        running.add(this);
      } else if (server) {
        this.#detach = attach(server, this, { hasPath: path !== undefined, limits: this.#limits }, () => this.#listening());
      } else {
        process.nextTick(() => this.#listening());
      }
    } catch (error) {
      // Nobody will have this server, to close it.
      this.#forgetSignal();
      this.#native.unrefLoop();
      this.#native.close();
      throw error;
    }
  }

  on(name, listener) {
    super.on(name, listener);
    return this.#want(name);
  }

  addListener(name, listener) {
    super.addListener(name, listener);
    return this.#want(name);
  }

  prependListener(name, listener) {
    super.prependListener(name, listener);
    return this.#want(name);
  }

  removeListener(name, listener) {
    super.removeListener(name, listener);
    return this.#want(name);
  }

  off(name, listener) {
    return this.removeListener(name, listener);
  }

  removeAllListeners(...names) {
    super.removeAllListeners(...names);
    EVENTS.forEach((name) => this.#want(name));
    return this;
  }

  address() {
    const address = this.#server && this.#state !== State.CLOSED ? this.#server.address() : this.#address;
    // That of a pipe is a string.
    return typeof address === 'object' && address ? { ...address } : null;
  }

  shouldHandle(request) {
    checkRequest(request);
    return this.#native.isAt(Buffer.from(request.url, 'latin1'));
  }

  handleUpgrade(request, socket, head) {
    checkUpgrade(request, socket, head);
    this.#upgrades.handle(request, socket, head);
  }

  /** Has a connection served that a server of Node gave. */
  #adopt(serve) {
    // Not given up before the engine tells that the last connection has ended.
    running.add(this);
    serve();
    this.#letGo();
  }

  #refuse(socket, answer) {
    const destroyAfter = refuse(socket, answer, Math.min(this.#limits.closeTimeout, this.#timeLeft()));
    this.#refused.add(destroyAfter);
    socket.once('close', () => this.#refused.delete(destroyAfter));
  }

  /** Milliseconds until everything is cut. */
  #timeLeft() {
    return Math.max(0, this.#deadline - performance.now());
  }

  registerClient(options) {
    const { expiresIn, data } = checkRegistrationOptions(options);
    const { id, token } = this.#call('registerClient', expiresIn);
    const client = { id, token };
    if (data !== undefined) {
      this.#data.set(client.id, data);
      if (expiresIn !== undefined) this.#forgetExpired();
    }
    debug('client %d registered', client.id);
    return client;
  }

  unregisterClient(clientId) {
    checkClientId('clientId', clientId);
    this.#call('unregisterClient', clientId);
    this.#data.delete(clientId);
    debug('client %d unregistered', clientId);
  }

  refreshToken(clientId, options) {
    checkClientId('clientId', clientId);
    const { expiresIn } = checkRegistrationOptions(options);
    const token = this.#call('refreshToken', clientId, expiresIn);
    if (expiresIn !== undefined && this.#data.has(clientId)) this.#forgetExpired();
    debug('client %d has a new token', clientId);
    return token;
  }

  disconnectClient(clientId, code = 1000, reason = '') {
    checkClientId('clientId', clientId);
    checkClose(code, reason);
    return this.#call('disconnectClient', clientId, code, reason);
  }

  isConnected(clientId) {
    checkClientId('clientId', clientId);
    return this.#call('isConnected', clientId);
  }

  *clients() {
    for (const id of this.#native.clientIds()) {
      const status = this.#native.clientStatus(id);
      // It may be gone since.
      if (status) yield { id, ...status, data: this.#data.get(id) };
    }
  }

  stats() {
    const { rejected, offences, turnedAway, closed, ...stats } = this.#native.stats();
    const tables = Object.entries({ rejected, offences, turnedAway, closed }).map(([name, counts]) => [name, byCode(counts)]);
    return { ...stats, ...Object.fromEntries(tables) };
  }

  registerRelayChannel(clientId1, clientId2) {
    checkClientId('clientId1', clientId1);
    checkClientId('clientId2', clientId2);
    this.#call('registerRelayChannel', clientId1, clientId2);
    debug('clients %d and %d have a channel', clientId1, clientId2);
  }

  registerRelayChannels(clientId, clientIds) {
    if (typeof clientId === 'object' || clientIds === undefined) return this.#connectRoom(clientId);
    checkClientId('clientId', clientId);
    const ids = checkClientIds(clientIds);
    const count = this.#call('registerRelayChannelsWith', clientId, ids);
    debug('client %d has channels with %j, %d of them new', clientId, ids, count);
    return count;
  }

  #connectRoom(clientIds) {
    const ids = checkClientIds(clientIds);
    const count = this.#call('registerRelayChannels', ids);
    debug('clients %j have all channels, %d of them new', ids, count);
    return count;
  }

  unregisterRelayChannel(clientId1, clientId2) {
    checkClientId('clientId1', clientId1);
    checkClientId('clientId2', clientId2);
    this.#call('unregisterRelayChannel', clientId1, clientId2);
    debug('clients %d and %d have no channel any more', clientId1, clientId2);
  }

  setSecureContext(options) {
    this.#call('setCredentials', checkCredentials(Object(options)) ?? { certs: [], keys: [], ca: [], requestCert: false });
  }

  close(options, callback) {
    if (typeof options === 'function' && callback === undefined) [options, callback] = [undefined, options];
    const drain = checkCloseOptions(options);
    checkCallback(callback);
    if (callback === undefined) {
      const closed = new Promise((resolve, reject) => {
        this.close(options, (error) => (error ? reject(error) : resolve()));
      });
      // Who does not wait for it has heard of the failure from 'error'.
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

  // Before 20.5.1 Node has no symbol for it.
  [Symbol.asyncDispose ?? Symbol.for('nodejs.asyncDispose')]() {
    return this.close();
  }

  ref() {
    return this.#count(true);
  }

  unref() {
    return this.#count(false);
  }

  /** An attached one is kept alive by its server, and the connections count like that server's own. */
  #count(counts) {
    this.#counts = counts;
    this.#native.refConnections(counts);
    const isIts = this.#isOpen() ? this.#port !== undefined : this.#state !== State.CLOSED;
    if (counts && isIts) this.#native.refLoop();
    else this.#native.unrefLoop();
    return this;
  }

  /** Has the engine do something, and gives its errors their names. */
  #call(method, ...args) {
    return callNative(() => this.#native[method](...args));
  }

  /** Tells the engine whether an event is to be told. */
  #want(name) {
    if (EVENTS.includes(name)) {
      const isNeeded = debug.enabled || (name === 'expired' && this.#dataExpires);
      this.#native.want(name, isNeeded || this.listenerCount(name) > 0);
    }
    return this;
  }

  /** What was given as `data` is to be forgotten with its client. */
  #forgetExpired() {
    this.#dataExpires = true;
    this.#want('expired');
  }

  /** Lets the server be collected when nobody holds it, if it does not go on by itself. */
  #letGo() {
    const goesOn = this.#port !== undefined || this.#native.hasAdopted || this.#state === State.CLOSING || this.#state === State.ENDING;
    if (!goesOn) running.delete(this);
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
    try {
      this.#call('listen', ip, this.#port);
    } catch {
      // An interface that does not exist. Heard by who listens for it right after construction.
      const error = listenError(constants.errno.EINVAL, '', this.#host, this.#port);
      process.nextTick(() => this.#state === State.STARTING && this.#emitSafely(() => this.#fail(error)));
    }
  }

  #isOpen() {
    return this.#state === State.STARTING || this.#state === State.LISTENING;
  }

  /** @param {{ timeout: number, retryAfter: number }} [drain] */
  #stop(drain) {
    if (this.#isOpen()) {
      this.#state = State.CLOSING;
      this.#detach();
      running.add(this);
      this.#upgrades.close();
      // While the engine still takes answers to be given.
      this.#verifyQueue?.close();
      // Until it has told that it is closed.
      if (this.#counts) this.#native.refLoop();
    }
    // Also when it is closing: that may be cut short.
    if (drain) this.#native.drain(drain.timeout, drain.retryAfter);
    else this.#native.close();
    this.#deadline = Math.min(this.#deadline, performance.now() + (drain?.timeout ?? this.#limits.closeTimeout));
    this.#refused.forEach((destroyAfter) => destroyAfter(this.#timeLeft()));
    if (this.#state === State.ENDING) this.#leaveBridges();
  }

  #leaveBridges() {
    this.#bridges.forEach((bridge) => bridge.leave(this.#timeLeft()));
  }

  #fail(error) {
    this.#failure = error;
    this.#stop();
    this.emit('error', error);
  }

  /** Each event in a turn of its own: a listener that was added after the event before it hears it, also behind an `await`. */
  static #deliver(server, events) {
    for (const event of events) setImmediate(() => server.#emitSafely(() => server.#tell(event)));
    if (events.length > 0) setImmediate(() => server.#native.delivered());
  }

  static #runVerifyQueue(server) {
    server.#verifyQueue?.run();
  }

  static #runErrands(server) {
    for (const number of server.#native.errands()) server.#emitSafely(() => server.#bridges.get(number)?.run());
  }

  #tell({ name, clientId, targetId, code, number, text }) {
    switch (name) {
      case 'listening':
        if (this.#state !== State.STARTING) return;
        this.#address = { address: withZoneName(text), family: `IPv${net.isIP(text)}`, port: number };
        this.#listening();
        return;
      case 'listenFailed':
        if (this.#state === State.STARTING) this.#fail(listenError(number, text, this.#host ?? '::', this.#port));
        return;
      case 'connection':
        debug('client %d connected', clientId);
        this.emit('connection', clientId, ...this.#dataOf(clientId));
        return;
      case 'disconnect':
        // The text may be of `disconnectClient()`, and so of anybody.
        if (debug.enabled) debug('client %d disconnected: %d %s', clientId, number, printable(text));
        this.emit('disconnect', clientId, number, text, ...this.#dataOf(clientId));
        return;
      case 'expired': {
        const data = this.#dataOf(clientId);
        this.#data.delete(clientId);
        debug('client %d expired, %d messages were never delivered', clientId, number);
        this.emit('expired', clientId, number, ...data);
        return;
      }
      case 'messagesExpired':
        debug('%d messages of client %d for client %d expired', number, clientId, targetId);
        this.emit('messagesExpired', clientId, targetId, number);
        return;
      case 'error':
        debug('%s of client %s: %s', code, clientId ?? '(unknown)', text);
        // A stranger's mistake must not crash the process of who does not listen.
        if (this.listenerCount('error') > 0) this.emit('error', new RelayError(code, text, clientId));
        return;
      case 'deserted':
        this.#letGo();
        return;
      case 'close':
        // The engine has left every connection; their sockets may still have something to write.
        this.#state = State.ENDING;
        RelayServer.#runErrands(this);
        this.#leaveBridges();
        this.#closeWhenEnded();
    }
  }

  /** What was given as `data`, as arguments of an event. */
  #dataOf(clientId) {
    return this.#data.has(clientId) ? [this.#data.get(clientId)] : [];
  }

  #listening() {
    if (!this.#isOpen()) return;
    this.#state = State.LISTENING;
    this.emit('listening');
  }

  /** Tells what is wrong with how the server is used, which nobody may be listening for. @param {RelayError} error */
  #warn(error) {
    debug('%s: %s', error.code, error.message);
    if (this.listenerCount('error') > 0) this.#emitSafely(() => this.emit('error', error));
    else if (!this.#hasWarned) process.emitWarning(error.message, { code: error.code });
    this.#hasWarned = true;
  }

  #bridge(socket, native, onAnsweredByOther) {
    const { number } = native;
    const { closeTimeout } = this.#limits;
    const closed = () => {
      this.#bridges.delete(number);
      this.#closeWhenEnded();
    };
    this.#bridges.set(number, new SocketBridge(socket, native, { closeTimeout, closed, onAnsweredByOther }));
  }

  #closeWhenEnded() {
    if (this.#state !== State.ENDING || this.#bridges.size > 0) return;
    this.#state = State.CLOSED;
    this.#deadline = Infinity;
    this.#forgetSignal();
    this.#address = null;
    this.#native.end();
    running.delete(this);
    for (const callback of this.#closeCallbacks.splice(0)) this.#emitSafely(() => callback(this.#failure));
    this.emit('close');
  }

  /** Makes an exception of a listener an ordinary uncaught one, without losing what comes after it. */
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

/**
 * A function for the engine, which holds it, that does not keep the server from being collected. It is made here, and not
 * in a method, for closures of one scope hold all that any of them uses.
 */
function weakly(server, call) {
  const reference = new WeakRef(server);
  return (_error, value) => {
    const found = reference.deref();
    if (found) call(found, value);
  };
}

/** The addon's errors are of the realm that loaded it first, which may not be this one. */
function callNative(call) {
  try {
    return call();
  } catch (error) {
    const { message, code } = error;
    const name = ERROR_NAMES[code];
    throw Object.assign(new Error(message), { code }, name ? { name } : {});
  }
}

function byCode(counts) {
  return Object.fromEntries(counts.map(({ code, count }) => [code, count]));
}

module.exports = RelayServer;
module.exports.RelayServer = RelayServer;
module.exports.default = RelayServer;
