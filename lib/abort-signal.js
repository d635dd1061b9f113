'use strict';

// Abort signals, one of which may close many servers.

const { nextTick } = require('node:process');

/**
 * @typedef {{ callbacks: Set<() => void>, stop: () => void }} Subscription `stop` removes the listener
 */

/** One listener for each signal: Node warns of a leak if there are more than ten. @type {WeakMap<AbortSignal, Subscription>} */
const subscriptions = new WeakMap();

/**
 * Calls a function once when a signal is aborted, or in the next tick if it is already.
 * @param {AbortSignal} signal
 * @param {() => void} callback
 * @returns {() => void} cancels the call
 */
function onAbort(signal, callback) {
  if (signal.aborted) {
    let isCancelled = false;
    nextTick(() => isCancelled || callback());
    return () => {
      isCancelled = true;
    };
  }
  const { callbacks, stop } = subscriptions.get(signal) ?? subscribe(signal);
  callbacks.add(callback);
  return () => {
    if (callbacks.delete(callback) && callbacks.size === 0) stop();
  };
}

/** @param {AbortSignal} signal @returns {Subscription} */
function subscribe(signal) {
  const callbacks = new Set();
  const abort = () => {
    stop();
    for (const callback of callbacks) callback();
  };
  const stop = () => {
    subscriptions.delete(signal);
    signal.removeEventListener('abort', abort);
  };
  signal.addEventListener('abort', abort);
  const subscription = { callbacks, stop };
  subscriptions.set(signal, subscription);
  return subscription;
}

module.exports = { onAbort };
