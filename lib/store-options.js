'use strict';

// The option `store`: where the relay keeps clients, channels and messages, and how durably.

const { emitWarning } = require('node:process');
const path = require('node:path');
const { fileURLToPath } = require('node:url');
const { describe, typeError } = require('./argument-errors.js');

const PATH = "a path of a file, a 'file:' URL, or an object { path, durability }";

/** The members of the object. */
const MEMBERS = new Set(['path', 'durability']);

/**
 * @param {unknown} store
 * @returns {{ path: string, synced: boolean } | undefined} the path is absolute
 */
function checkStore(store) {
  if (store === undefined) return undefined;
  if (typeof store === 'string' || isUrl(store)) return { path: checkPath('options.store', store), synced: false };
  if (typeof store !== 'object' || store === null) throw typeError('options.store', PATH, store);
  const { path: file, durability = 'written' } = /** @type {Record<string, unknown>} */ (store);
  if (durability !== 'written' && durability !== 'synced') {
    throw typeError('options.store.durability', "'written' or 'synced'", durability);
  }
  for (const name of Object.keys(store).filter((name) => !MEMBERS.has(name))) {
    emitWarning(`the option store has no member ${describe(name)}; it is ignored`, { code: 'WEBSOCKET_RELAY_UNKNOWN_OPTION' });
  }
  return { path: checkPath('options.store.path', file), synced: durability === 'synced' };
}

/** Whether a value is a URL object, possibly of another realm. @param {any} value */
function isUrl(value) {
  return typeof value === 'object' && typeof value?.href === 'string' && typeof value.protocol === 'string';
}

/** @param {string} name @param {unknown} value */
function checkPath(name, value) {
  const text = isUrl(value) ? fromUrl(name, value) : value;
  if (typeof text !== 'string' || text === '' || text.includes('\0')) {
    throw typeError(name, "a path of a file, not empty and without NUL, or a 'file:' URL", value);
  }
  return path.resolve(text);
}

/** @param {string} name @param {any} url */
function fromUrl(name, url) {
  try {
    return fileURLToPath(url.href);
  } catch {
    throw typeError(name, "a 'file:' URL of a file on this machine", url.href);
  }
}

module.exports = { checkStore };
