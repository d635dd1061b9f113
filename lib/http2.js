'use strict';

// WebSockets over HTTP/2 (RFC 8441), where a stream takes the place of a socket.

/** Headers that HTTP/2 does not allow, or that `:status` replaces. */
const FORBIDDEN = new Set(['connection', 'upgrade', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'sec-websocket-accept', 'http2-settings', 'te', 'host']);

/** Headers of the equivalent HTTP/1.1 request. Any key will do: the response to it is dropped. */
const UPGRADE_HEADERS = { connection: 'upgrade', 'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==' };

/** Whether a socket is an HTTP/2 stream. @param {any} socket */
function isStream(socket) {
  return typeof socket?.respond === 'function' && typeof socket.pushStream === 'function';
}

/**
 * Returns the request of a stream, shaped like an `http.IncomingMessage`.
 * @param {import('node:http2').ServerHttp2Stream} stream
 * @param {import('node:http2').IncomingHttpHeaders} headers
 */
function requestOf(stream, headers) {
  const named = Object.entries(headers).filter(([name]) => !name.startsWith(':'));
  const host = headers.host ?? headers[':authority'];
  return {
    method: headers[':method'],
    httpVersion: '2.0',
    url: headers[':path'] ?? '/',
    headers: { ...Object.fromEntries(named), ...(host === undefined ? {} : { host }), upgrade: headers[':protocol'] },
    socket: stream.session?.socket,
  };
}

/**
 * Returns the HTTP/1.1 request that is equivalent to a CONNECT request for a WebSocket.
 * @param {{ method?: string, headers: any }} request
 */
function asHttp1({ method, url, headers }) {
  const upgrade = headers.upgrade ?? headers[':protocol'];
  return { method: method === 'CONNECT' ? 'GET' : method, url, httpVersion: '1.1', headers: { ...headers, ...UPGRADE_HEADERS, upgrade } };
}

/**
 * Sends an HTTP/1.1 response on a stream.
 * @param {import('node:http2').ServerHttp2Stream} stream
 * @param {Buffer} response
 * @returns {boolean} whether the stream is a WebSocket now
 */
function respond(stream, response) {
  if (stream.destroyed || stream.headersSent) return false;
  const end = response.indexOf('\r\n\r\n');
  const [first, ...lines] = response.toString('latin1', 0, end).split('\r\n');
  const status = Number(first.split(' ')[1]);
  /** @type {Record<string, string | number | string[]>} */
  const headers = {};
  for (const line of lines) {
    const name = line.slice(0, line.indexOf(':')).toLowerCase();
    const value = line.slice(line.indexOf(':') + 1).trim();
    if (FORBIDDEN.has(name)) continue;
    headers[name] = Object.hasOwn(headers, name) ? [headers[name], value].flat() : value;
  }
  const isOpen = status === 101;
  const pseudoHeaders = { ':status': isOpen ? 200 : status };
  try {
    stream.respond({ ...headers, ...pseudoHeaders });
  } catch {
    // A header occurs twice that may not.
    stream.respond(pseudoHeaders);
  }
  if (!isOpen) {
    stream.end(response.subarray(end + 4));
    stream.close();
  }
  return isOpen;
}

module.exports = { asHttp1, isStream, requestOf, respond };
