/** The entry for `require` in bundlers for browsers: the class itself, with the names of the ES module on it. */

import { WebSocketRelay } from './relay.js';

export = Object.assign(WebSocketRelay, { default: WebSocketRelay, WebSocketRelay });
