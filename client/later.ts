/** `queueMicrotask`, also for engines that lack it. */

/** Runs a task as a microtask. An error that it throws surfaces as an uncaught one. */
export function later(task: () => unknown): void {
  if (typeof queueMicrotask === 'function') {
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
