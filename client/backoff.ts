/** How long to wait before connecting again. Pure. */

/** The options of {@link RelayOptions} that decide it. */
export interface Backoff {
  reconnectionDelay: number;
  reconnectionDelayMax: number;
  randomizationFactor: number;
}

/** The longest time that a server can make a client wait before it connects or sends again: an hour, in milliseconds. */
export const MAX_WAIT = 3_600_000;

/**
 * Returns the milliseconds to wait before an attempt: `reconnectionDelay`, doubled with each attempt up to
 * `reconnectionDelayMax`, less a random part of up to `randomizationFactor`. A factor of 1 is full jitter.
 *
 * @param attempt - counts from 0
 * @param random - a number from 0 up to 1
 */
export function backoff(options: Backoff, attempt: number, random: number): number {
  // Thirty doublings reach every maximum; an infinite power would turn a delay of 0 into NaN.
  const delay = options.reconnectionDelay * 2 ** Math.min(attempt, 30);
  return Math.min(delay, options.reconnectionDelayMax) * (1 - options.randomizationFactor * random);
}

/**
 * Returns the milliseconds that a server asks a client to wait before it reconnects, with a close reason such as
 * `3210 ms to wait: the server is restarting`. Only 1012 (restart) and 1013 (try again later) can ask; 0 otherwise.
 */
export function requestedWait(code: number, reason: string): number {
  const match = code === 1012 || code === 1013 ? /^(\d+) ms to wait: /.exec(reason) : null;
  return Math.min(Number(match?.[1] ?? 0), MAX_WAIT);
}
