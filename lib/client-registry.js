'use strict';

// Clients and channels: checks the arguments, calls the engine, and keeps the clients' `data`.

const {
  checkClientId, checkClientIds, checkClose, checkRegistrationOptions, checkRegistrations, checkStoredData,
} = require('./arguments.js');
const debug = require('./debug.js');
const { callNative, copyError } = require('./errors.js');

class ClientRegistry {
  #native;
  #onDataExpires;
  #hasStore;
  #failure;
  /** @type {Map<number, unknown>} `data` by client id */
  #data = new Map();
  /** @type {Map<number, unknown[]>} `data` of clients that have expired and whose ids were registered again before the event */
  #formerData = new Map();
  /** Whether a registration with `data` may expire. */
  dataExpires = false;

  /**
   * @param {import('../native.js').NativeRelay} native
   * @param {{ onDataExpires: () => void, hasStore: boolean, failure: Error | undefined }} options `onDataExpires` is called when
   *   `dataExpires` becomes true; `failure` is why the store could not be opened
   */
  constructor(native, { onDataExpires, hasStore, failure }) {
    this.#native = native;
    this.#onDataExpires = onDataExpires;
    this.#hasStore = hasStore;
    this.#failure = failure;
    if (!hasStore) return;
    for (const { id, json } of native.takeStoredData()) {
      this.#data.set(id, JSON.parse(json));
      // It is not known here which of them expire.
      this.dataExpires = true;
    }
  }

  register(options) {
    const { id: ownId, token: ownToken, expiresIn, data } = checkRegistrationOptions(options);
    const json = data !== undefined && this.#hasStore ? checkStoredData(data) : undefined;
    const { id, token } = this.#call('registerClient', expiresIn, ownId, ownToken, json);
    if (ownId !== undefined && this.#data.has(id)) this.#keepFormerData(id);
    if (data !== undefined) {
      this.#data.set(id, data);
      if (expiresIn !== undefined) this.#expectExpiry();
    }
    debug('client %d registered', id);
    return { id, token };
  }

  /** Registers many clients. Returns their ids and tokens. */
  registerMany(number, options) {
    const { count, expiresIn } = checkRegistrations(number, options);
    const { ids, tokens } = this.#call('registerClients', count, expiresIn);
    debug('%d clients registered, from %d on', count, ids[0]);
    return tokens.map((token, index) => ({ id: ids[index], token }));
  }

  unregister(clientId) {
    checkClientId('clientId', clientId);
    this.#call('unregisterClient', clientId);
    this.#data.delete(clientId);
    debug('client %d unregistered', clientId);
  }

  refreshToken(clientId, options) {
    checkClientId('clientId', clientId);
    const { expiresIn, token: ownToken } = checkRegistrationOptions(options);
    const token = this.#call('refreshToken', clientId, expiresIn, ownToken);
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

  /**
   * Takes the `data` of a client whose registration has expired.
   * @param {number} clientId
   * @returns {unknown[]} the `data` as trailing arguments of the event
   */
  takeExpired(clientId) {
    const former = this.#formerData.get(clientId);
    if (former) {
      if (former.length === 1) this.#formerData.delete(clientId);
      return [former.shift()];
    }
    // Another client may have been registered with this id since.
    if (this.#native.clientStatus(clientId)) return [];
    const data = this.dataArguments(clientId);
    this.#data.delete(clientId);
    return data;
  }

  /** The registration with this `data` has expired, and the event is on its way. @param {number} id */
  #keepFormerData(id) {
    this.#formerData.set(id, [...(this.#formerData.get(id) ?? []), this.#data.get(id)]);
    this.#data.delete(id);
  }

  #expectExpiry() {
    if (this.dataExpires) return;
    this.dataExpires = true;
    this.#onDataExpires();
  }

  #call(method, ...args) {
    if (this.#failure) throw copyError(this.#failure);
    return callNative(() => this.#native[method](...args));
  }
}

module.exports = { ClientRegistry };
