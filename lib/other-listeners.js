'use strict';

// Other listeners for 'upgrade' on the same server: whether one of them has answered a request, and which it may be.

/** Which library a listener is of, by what its source names. What is minified is not found. */
const LISTENERS = [
  ['socket.io (engine.io)', /\bdestroyUpgrade\b/],
  ['@fastify/websocket', /\brawRequest\[kWs\]/],
  ['@hono/node-ws', /\bwaiterMap\b/],
  ['@hono/node-server', /\brejectUpgradeRequest\b/],
  ['ws, which needs noServer', /\bemitConnection\b/],
  ['Next.js', /\bupgradeHandler\b/],
  ['Vite', /\bvite-hmr\b|\bhmrServer|\bHMR_HEADER\b/],
];

/**
 * Who has taken a socket, where that has left a mark.
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
 * Who may have answered a request, for people.
 * @param {any} request
 * @param {any} socket
 * @returns {string}
 */
function suspectedLibraries(request, socket) {
  const owner = answeringLibrary(request, socket);
  if (owner !== undefined) return owner;
  /** @type {Function[]} */
  const listeners = socket.server?.listeners?.('upgrade') ?? [];
  const sources = listeners.map((listener) => Function.prototype.toString.call(listener));
  const names = LISTENERS.filter(([, pattern]) => sources.some((source) => pattern.test(source))).map(([name]) => name);
  return names.length > 0 ? names.join(' or ') : 'unknown';
}

module.exports = { suspectedLibraries, answeringLibrary };
