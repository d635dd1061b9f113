'use strict';

// Checks and limits that hold on both sides of the binding. They mirror those of the engine.

const net = require('node:net');

/** Bytes that a client may send behind its upgrade request before it is answered: `Limits::MAX_EARLY_BYTES`. */
const MAX_EARLY_BYTES = 16 * 1024;

/** Bytes read and discarded from a client that keeps sending while its connection ends: `Limits::MAX_DISCARDED_BYTES`. */
const MAX_DISCARDED_BYTES = 16 * 1024 * 1024;

/** Most requests the developer's functions may be deciding about at a time, including those of clients that have left since. */
const MAX_UNANSWERED_VERIFICATIONS = 8192;

/** Whether a text is an IP address, optionally with a prefix length, as `Network::parse` has it. @param {string} text */
function isNetwork(text) {
  const [address, prefix = '0', ...more] = text.split('/');
  const version = net.isIP(address);
  return version > 0 && !address.includes('%') && more.length === 0 && /^\d{1,3}$/.test(prefix) && Number(prefix) <= (version === 4 ? 32 : 128);
}

/** Replaces everything that may be a token, which is every run of 32 or more hex digits, as `Token` does. @param {string} text */
function redactTokens(text) {
  return text.replace(/[0-9a-f]{32,}/gi, '[redacted]');
}

module.exports = { MAX_DISCARDED_BYTES, MAX_EARLY_BYTES, MAX_UNANSWERED_VERIFICATIONS, isNetwork, redactTokens };
