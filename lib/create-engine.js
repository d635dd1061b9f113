'use strict';

const { performance } = require('node:perf_hooks');
const { NativeRelay } = require('../native.js');
const debug = require('./debug.js');
const { callNative, isStoreError } = require('./errors.js');

/**
 * Creates the engine. If its store cannot be opened, the server is to fail as for a port in use, and gets an engine without a
 * store that it can close.
 * @param {{ store: { path: string } | undefined }} options
 * @param {((error: unknown, value: any) => void)[]} callbacks
 * @returns {{ native: import('../native.js').NativeRelay, storeFailure?: Error }}
 */
function createEngine(options, callbacks) {
  const create = (engineOptions) => callNative(() => new NativeRelay(engineOptions, ...callbacks));
  const start = performance.now();
  try {
    const native = create(options);
    if (options.store && debug.enabled) {
      const { registered, channels, queuedMessages } = native.stats();
      const loaded = [registered, channels, queuedMessages, options.store.path, Math.round(performance.now() - start)];
      debug('%d clients, %d channels and %d messages loaded from %s in %d ms', ...loaded);
    }
    return { native };
  } catch (error) {
    if (!isStoreError(error)) throw error;
    return { native: create({ ...options, store: undefined }), storeFailure: error };
  }
}

module.exports = { createEngine };
