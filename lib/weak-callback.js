'use strict';

/**
 * Returns a callback for the engine that does not keep its target from being collected. Not written inline where it is
 * used: the closures of one scope share everything that any of them refers to.
 * @template {object} T
 * @param {T} target
 * @param {(target: T, value: any) => void} call
 */
function weakCallback(target, call) {
  const reference = new WeakRef(target);
  return (/** @type {unknown} */ _error, /** @type {any} */ value) => {
    const found = reference.deref();
    if (found) call(found, value);
  };
}

module.exports = { weakCallback };
