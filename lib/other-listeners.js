'use strict';

// Recognizes other libraries that listen for 'upgrade' on the same server, for error messages.

/** Names in the source of a library's 'upgrade' listener. Minified sources are not recognized. */
const SIGNATURES = [
  ['socket.io (engine.io)', /\bdestroyUpgrade\b/],
  ['@fastify/websocket', /\brawRequest\[kWs\]/],
  ['@hono/node-ws', /\bwaiterMap\b/],
  ['@hono/node-server', /\brejectUpgradeRequest\b/],
  ['ws, which needs noServer', /\bemitConnection\b/],
  ['Next.js', /\bupgradeHandler\b/],
  ['Vite', /\bvite-hmr\b|\bhmrServer|\bHMR_HEADER\b/],
];

/**
 * Returns the library that has handled a request, if it left a mark on the socket or the request.
 * @param {any} request
 * @param {any} socket
 * @returns {string | undefined}
 */
function answeringLibrary(request, socket) {
  if (hasSymbol(socket, 'websocket')) return 'ws';
  if (hasSymbol(request, 'ws-socket')) return '@fastify/websocket';
  return undefined;
}

function hasSymbol(object, description) {
  return Object.getOwnPropertySymbols(object).some((symbol) => symbol.description === description && object[symbol] !== undefined);
}

/**
 * Returns the names of the libraries that may have answered a request, joined with "or", or "unknown".
 * @param {any} request
 * @param {any} socket
 * @returns {string}
 */
function suspectedLibraries(request, socket) {
  const library = answeringLibrary(request, socket);
  if (library !== undefined) return library;
  /** @type {Function[]} */
  const listeners = socket.server?.listeners?.('upgrade') ?? [];
  const sources = listeners.map((listener) => Function.prototype.toString.call(listener));
  const names = SIGNATURES.filter(([, pattern]) => sources.some((source) => pattern.test(source))).map(([name]) => name);
  return names.length > 0 ? names.join(' or ') : 'unknown';
}

module.exports = { answeringLibrary, suspectedLibraries };
