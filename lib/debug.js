'use strict';

const { debuglog } = require('node:util');

/** Logs with `NODE_DEBUG=websocket-relay`. Never give it a token. */
module.exports = debuglog('websocket-relay');
