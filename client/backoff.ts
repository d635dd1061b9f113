/** How long to wait before connecting again. Pure. */

/** The options that decide it; see {@link RelayOptions}. */
export interface Backoff {
  reconnectionDelay: number;
  reconnectionDelayMax: number;
  randomizationFactor: number;
}

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
