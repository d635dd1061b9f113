'use strict';

// Checks and limits that hold on both sides of the binding.

const { isNetwork, maxRegisteredAtOnce, maxUnansweredVerifications, redactTokens } = require('../native.js');

/** Bytes that a client may send behind its upgrade request before it is answered: `Limits::MAX_EARLY_BYTES`. */
const MAX_EARLY_BYTES = 16 * 1024;

/** Bytes read and discarded from a client that keeps sending while its connection ends: `Limits::MAX_DISCARDED_BYTES`. */
const MAX_DISCARDED_BYTES = 16 * 1024 * 1024;

/** Most requests the developer's functions may be deciding about at a time, including those of clients that have left since. */
const MAX_UNANSWERED_VERIFICATIONS = maxUnansweredVerifications();

/** Most clients that one call registers. */
const MAX_REGISTERED_AT_ONCE = maxRegisteredAtOnce();

module.exports = { MAX_DISCARDED_BYTES, MAX_EARLY_BYTES, MAX_REGISTERED_AT_ONCE, MAX_UNANSWERED_VERIFICATIONS, isNetwork, redactTokens };
