'use strict';

// Abort signals: one may be for many servers.

const { nextTick } = require('node:process');

/**
 * What waits for a signal, and how it stops listening.
 * @typedef {{ calls: Set<() => void>, end: () => void }} Waiting
 */

/** @type {WeakMap<AbortSignal, Waiting>} one listener for each signal: Node warns of more than ten as of a leak */
const signals = new WeakMap();

/**
 * Calls a function once when a signal is aborted, unless the function that it returns is called before.
 * @param {AbortSignal} signal
 * @param {() => void} call
 * @returns {() => void}
 */
function onAbort(signal, call) {
  if (signal.aborted) {
    let isWanted = true;
    nextTick(() => isWanted && call());
    return () => {
      isWanted = false;
    };
  }
  const { calls, end } = signals.get(signal) ?? listen(signal);
  calls.add(call);
  return () => {
    if (calls.delete(call) && calls.size === 0) end();
  };
}

/** @param {AbortSignal} signal @returns {Waiting} */
function listen(signal) {
  const calls = new Set();
  const abort = () => {
    end();
    for (const call of calls) call();
  };
  const end = () => {
    signals.delete(signal);
    signal.removeEventListener('abort', abort);
  };
  signal.addEventListener('abort', abort);
  signals.set(signal, { calls, end });
  return { calls, end };
}

module.exports = { onAbort };
