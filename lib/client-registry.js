'use strict';

// Clients and channels: checks the arguments, calls the engine, and keeps the clients' `data`.

const { checkClientId, checkClientIds, checkClose, checkRegistrationOptions } = require('./arguments.js');
const debug = require('./debug.js');
const { callNative } = require('./errors.js');

class ClientRegistry {
  #native;
  #onDataExpires;
  /** @type {Map<number, unknown>} `data` by client id */
  #data = new Map();
  /** Whether a registration with `data` may expire. */
  dataExpires = false;

  /**
   * @param {import('../native.js').NativeRelay} native
   * @param {() => void} onDataExpires called when `dataExpires` becomes true
   */
  constructor(native, onDataExpires) {
    this.#native = native;
    this.#onDataExpires = onDataExpires;
  }

  register(options) {
    const { expiresIn, data } = checkRegistrationOptions(options);
    const { id, token } = this.#call('registerClient', expiresIn);
    const client = { id, token };
    if (data !== undefined) {
      this.#data.set(client.id, data);
      if (expiresIn !== undefined) this.#expectExpiry();
    }
    debug('client %d registered', client.id);
    return client;
  }

  unregister(clientId) {
    checkClientId('clientId', clientId);
    this.#call('unregisterClient', clientId);
    this.#data.delete(clientId);
    debug('client %d unregistered', clientId);
  }

  refreshToken(clientId, options) {
    checkClientId('clientId', clientId);
    const { expiresIn } = checkRegistrationOptions(options);
    const token = this.#call('refreshToken', clientId, expiresIn);
    if (expiresIn !== undefined && this.#data.has(clientId)) this.#expectExpiry();
    debug('client %d has a new token', clientId);
    return token;
  }

  disconnect(clientId, code, reason) {
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
      // `undefined` if it was unregistered during the iteration.
      if (status) yield { id, ...status, data: this.#data.get(id) };
    }
  }

  registerChannel(clientId1, clientId2) {
    checkClientId('clientId1', clientId1);
    checkClientId('clientId2', clientId2);
    this.#call('registerRelayChannel', clientId1, clientId2);
    debug('clients %d and %d have a channel', clientId1, clientId2);
  }

  /** Registers the channels between a client and each of the others. Returns how many are new. */
  registerChannels(clientId, clientIds) {
    checkClientId('clientId', clientId);
    const ids = checkClientIds(clientIds);
    const count = this.#call('registerRelayChannelsWith', clientId, ids);
    debug('client %d has channels with %j, %d of them new', clientId, ids, count);
    return count;
  }

  /** Registers the channels of all pairs of clients. Returns how many are new. */
  registerRoom(clientIds) {
    const ids = checkClientIds(clientIds);
    const count = this.#call('registerRelayChannels', ids);
    debug('clients %j have all channels, %d of them new', ids, count);
    return count;
  }

  unregisterChannel(clientId1, clientId2) {
    checkClientId('clientId1', clientId1);
    checkClientId('clientId2', clientId2);
    this.#call('unregisterRelayChannel', clientId1, clientId2);
    debug('clients %d and %d no longer have a channel', clientId1, clientId2);
  }

  /** Returns the `data` of a client as trailing arguments of an event. @param {number} clientId */
  dataArguments(clientId) {
    return this.#data.has(clientId) ? [this.#data.get(clientId)] : [];
  }

  /** Forgets the `data` of a client whose registration has expired. @param {number} clientId */
  expire(clientId) {
    this.#data.delete(clientId);
  }

  #expectExpiry() {
    if (this.dataExpires) return;
    this.dataExpires = true;
    this.#onDataExpires();
  }

  #call(method, ...args) {
    return callNative(() => this.#native[method](...args));
  }
}

module.exports = { ClientRegistry };
