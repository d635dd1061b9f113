/** How long to wait before connecting again. Pure. */

/** The options that decide it; see {@link RelayOptions}. */
export interface Backoff {
  reconnectionDelay: number;
  reconnectionDelayMax: number;
  randomizationFactor: number;
}

/** How many milliseconds a server can ask a client to wait before it comes back, or sends again, at most: an hour. */
export const MAX_WAIT = 3_600_000;

/**
 * Milliseconds to wait before an attempt, of which the first has the number 0: a length that doubles with each attempt
 * up to `reconnectionDelayMax`, less up to `randomizationFactor` of it by chance. With 1 that is full jitter.
 *
 * @param random - a number from 0 up to 1
 */
export function backoff(options: Backoff, attempt: number, random: number): number {
  const { reconnectionDelay, reconnectionDelayMax, randomizationFactor } = options;
  // Past thirty doublings every delay is at its most, and 0 is not to be multiplied by infinity.
  return Math.min(reconnectionDelay * 2 ** Math.min(attempt, 30), reconnectionDelayMax) * (1 - randomizationFactor * random);
}

/**
 * Milliseconds that a server asks a client to wait, with a reason such as `3210 ms to wait: the server is restarting`.
 * Only 1012 (it restarts) and 1013 (try again later) can carry a wait; everything else asks for none.
 */
export function askedWait(code: number, reason: string): number {
  const asked = code === 1012 || code === 1013 ? /^(\d+) ms to wait: /.exec(reason) : null;
  return asked ? Math.min(Number(asked[1]), MAX_WAIT) : 0;
}
