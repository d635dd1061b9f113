'use strict';

const { NativeRelay } = require('../native.js');
const { callNative, isStoreError } = require('./errors.js');

/**
 * Creates the engine. If its store cannot be opened, the server is to fail as for a port in use, and gets an engine without a
 * store that it can close.
 * @param {{ store: unknown }} options
 * @param {((error: unknown, value: any) => void)[]} callbacks
 * @returns {{ native: import('../native.js').NativeRelay, storeFailure?: Error }}
 */
function createEngine(options, callbacks) {
  const create = (engineOptions) => callNative(() => new NativeRelay(engineOptions, ...callbacks));
  try {
    return { native: create(options) };
  } catch (error) {
    if (!isStoreError(error)) throw error;
    return { native: create({ ...options, store: undefined }), storeFailure: error };
  }
}

module.exports = { createEngine };
