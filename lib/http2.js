'use strict';

// WebSockets over HTTP/2 (RFC 8441): a stream in the place of a socket.

/** Headers that HTTP/2 has not, or whose meaning is in `:status`. */
const ABSENT = new Set(['connection', 'upgrade', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'sec-websocket-accept', 'http2-settings', 'te', 'host']);

/** What an HTTP/1.1 request would have that asks for the same. The key is one: its answer is dropped. */
const ASKING = { connection: 'upgrade', 'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==' };

/** Whether a socket is a stream of HTTP/2. @param {any} socket */
function isStream(socket) {
  return typeof socket?.respond === 'function' && typeof socket.pushStream === 'function';
}

/**
 * The request of a stream, in the shape of Node's own.
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
 * What HTTP/1.1 would have in the place of a request for a WebSocket over HTTP/2.
 * @param {{ method?: string, headers: any }} request
 */
function asHttp1({ method, url, headers }) {
  const upgrade = headers.upgrade ?? headers[':protocol'];
  return { method: method === 'CONNECT' ? 'GET' : method, url, httpVersion: '1.1', headers: { ...headers, ...ASKING, upgrade } };
}

/**
 * Answers a stream with an answer of HTTP/1.1.
 * @param {import('node:http2').ServerHttp2Stream} stream
 * @param {Buffer} answer
 * @returns {boolean} whether the stream is a WebSocket from here on
 */
function respond(stream, answer) {
  if (stream.destroyed || stream.headersSent) return false;
  const end = answer.indexOf('\r\n\r\n');
  const [first, ...lines] = answer.toString('latin1', 0, end).split('\r\n');
  const status = Number(first.split(' ')[1]);
  /** @type {Record<string, string | number | string[]>} */
  const headers = {};
  for (const line of lines) {
    const name = line.slice(0, line.indexOf(':')).toLowerCase();
    const value = line.slice(line.indexOf(':') + 1).trim();
    if (ABSENT.has(name)) continue;
    headers[name] = Object.hasOwn(headers, name) ? [headers[name], value].flat() : value;
  }
  const isOpen = status === 101;
  const response = { ':status': isOpen ? 200 : status };
  try {
    stream.respond({ ...headers, ...response });
  } catch {
    // A header that is there twice, and may not.
    stream.respond(response);
  }
  if (!isOpen) {
    stream.end(answer.subarray(end + 4));
    stream.close();
  }
  return isOpen;
}

module.exports = { asHttp1, isStream, requestOf, respond };
