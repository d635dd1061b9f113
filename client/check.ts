/** Checks of what the application passes in. Errors name the parameter and say what was given. */

/** Whether a value is an integer from 0 to 2^53 − 1, as ids and counts are. */
export function isId(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** Throws an error with the given text if a parameter is `undefined` or `null`. */
export function required(value: unknown, text: string): void {
  if (value === undefined || value === null) throw new Error(text);
}

/** Throws a TypeError for a value of another type. The text does not contain the value, which may be a token. */
export function ofType(type: 'boolean' | 'function' | 'number' | 'string', value: unknown, name: string): void {
  if (typeof value !== type) throw new TypeError(`${name} must be a ${type}, not ${typeof value}`);
}

/** Throws a TypeError for a value that is not a number, a RangeError for a number that is not an id. */
export function id(value: number, name: string): void {
  ofType('number', value, name);
  if (!isId(value)) throw new RangeError(`${name} must be a safe integer >= 0, not ${value}`);
}

/** Throws a RangeError for a value that is not from 0 to a maximum. */
export function upTo(maximum: number, value: number, name: string): void {
  if (!(value >= 0 && value <= maximum)) throw new RangeError(`${name} must be from 0 to ${maximum}, not ${value}`);
}

/** Throws a TypeError for a callback that is neither a function nor left out. */
export function optionalCallback(value: unknown): void {
  if (value !== undefined && value !== null) ofType('function', value, 'callback');
}
