/**
 * Stands in for globals that React Native may lack, in the bundles for bundlers. See scripts/compile.mjs. The names inside are
 * others, because in a script the declarations would replace the globals themselves.
 */

/** Runs a task as a microtask. An error that it throws surfaces as an uncaught one. */
function later(task: () => void): void {
  const { queueMicrotask } = globalThis as { queueMicrotask?: (task: () => void) => void };
  if (queueMicrotask) {
    queueMicrotask(task);
  } else {
    // A rejected promise would not reach the handlers of uncaught errors.
    void Promise.resolve().then(task).catch((error: unknown) => {
      setTimeout(() => {
        throw error;
      });
    });
  }
}

const random = {
  /** Fills an array with random bytes. What the client draws is no secret, so `Math.random` is good enough. */
  getRandomValues(bytes: Uint8Array<ArrayBuffer>): Uint8Array {
    try {
      return globalThis.crypto.getRandomValues(bytes);
    } catch {
      return bytes.map(() => Math.random() * 256);
    }
  },
};

export { later as queueMicrotask, random as crypto };
