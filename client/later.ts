/** `queueMicrotask`, also where there is none. */

/** Calls a function soon: after the code that runs, before anything else. What it throws surfaces as an uncaught error. */
export function later(task: () => void): void {
  if (typeof queueMicrotask === 'function') {
    queueMicrotask(task);
  } else {
    // A promise would keep the error to itself.
    void Promise.resolve().then(task).catch((error: unknown) => {
      setTimeout(() => {
        throw error;
      });
    });
  }
}
