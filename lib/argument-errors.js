'use strict';

// The errors thrown for invalid arguments and options.

const { inspect } = require('node:util');
const { redactTokens } = require('./engine.js');
const { printable } = require('./printable.js');

/**
 * @param {string} name the argument's name
 * @param {string} expected what it must be
 * @param {unknown} value the value received
 */
function typeError(name, expected, value) {
  return invalidType(name, expected, describe(value));
}

/**
 * A type error that names only the type of the value, which may be a secret.
 * @param {string} name
 * @param {string} expected
 * @param {unknown} value
 */
function secretTypeError(name, expected, value) {
  return invalidType(name, expected, value === null ? 'null' : typeof value);
}

/** @param {string} name @param {string} expected @param {string} received */
function invalidType(name, expected, received) {
  const error = new TypeError(`${name} must be ${expected}; received ${received}`);
  return Object.assign(error, { code: 'ERR_INVALID_ARG_TYPE' });
}

/** @param {string} name @param {string} expected @param {unknown} value */
function rangeError(name, expected, value) {
  const error = new RangeError(`${name} must be ${expected}; received ${describe(value)}`);
  return Object.assign(error, { code: 'ERR_OUT_OF_RANGE' });
}

/** An error for options that contradict each other. @param {string} message */
function conflictError(message) {
  return Object.assign(new TypeError(message), { code: 'ERR_INVALID_ARG_VALUE' });
}

/**
 * Returns the value if it is an integer within the range, and throws otherwise.
 * @param {string} name
 * @param {unknown} value
 * @param {number} min
 * @param {number} max
 * @param {string} [unit]
 */
function integer(name, value, min, max, unit) {
  const expected = `an integer from ${min} to ${max}${unit ? ` (${unit})` : ''}`;
  if (typeof value !== 'number') throw typeError(name, expected, value);
  if (!Number.isInteger(value) || value < min || value > max) throw rangeError(name, expected, value);
  return value;
}

/** Describes a value for an error message: shortened, and without anything that may be a token. @param {unknown} value */
function describe(value) {
  const text = printable(redactTokens(inspect(value, { depth: 0, breakLength: Infinity })));
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}

module.exports = { conflictError, describe, integer, rangeError, secretTypeError, typeError };
