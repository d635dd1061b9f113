import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import express from 'express';

const require = createRequire(import.meta.url);
const pageOf = (url) => fileURLToPath(new URL('page', url));

/** Serves the folder `page` beside a server, what all pages share, and `websocket_relay.min.js`. */
export function files(serverUrl) {
  const client = require.resolve('websocket-relay/dist/websocket_relay.min.js');
  return [pageOf(serverUrl), pageOf(import.meta.url), dirname(client)].map((folder) => express.static(folder));
}
