'use strict';

const { EventEmitter } = require('node:events');

/** An event emitter that reports when its listeners change. */
class ObservedEmitter extends EventEmitter {
  #onChange;

  /** @param {(name: string | symbol | undefined) => void} onChange given the event, or `undefined` if all may have changed */
  constructor(onChange) {
    super();
    this.#onChange = onChange;
  }

  on(name, listener) {
    super.on(name, listener);
    this.#onChange(name);
    return this;
  }

  addListener(name, listener) {
    super.addListener(name, listener);
    this.#onChange(name);
    return this;
  }

  prependListener(name, listener) {
    super.prependListener(name, listener);
    this.#onChange(name);
    return this;
  }

  removeListener(name, listener) {
    super.removeListener(name, listener);
    this.#onChange(name);
    return this;
  }

  off(name, listener) {
    return this.removeListener(name, listener);
  }

  removeAllListeners(...names) {
    super.removeAllListeners(...names);
    this.#onChange(undefined);
    return this;
  }
}

module.exports = { ObservedEmitter };
