'use strict';

// Limits that hold on both sides of the binding. They mirror `Limits` in src/limits.rs.

/** Bytes that a client may send behind its upgrade request before it is answered. */
const MAX_EARLY_BYTES = 16 * 1024;

/** Bytes read and discarded from a client that keeps sending while its connection ends. */
const MAX_DISCARDED_BYTES = 16 * 1024 * 1024;

module.exports = { MAX_DISCARDED_BYTES, MAX_EARLY_BYTES };
