// Servers on free ports, and plain WebSocket connections, for all tests.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import { fileURLToPath } from 'node:url';
import express from 'express';
import RelayServer from 'websocket-relay';
import WebSocket, { WebSocketServer } from 'ws';
import { makeCertificate } from '../tls/certificates.mjs';

/** The `{ url, ca }` of servers. */
const places = new WeakMap();

/** Opens a relay on its own port. Closed when the test ends. */
export async function listen(test, options = {}) {
  const server = new RelayServer({ port: 0, host: '127.0.0.1', ...options });
  test.after(() => server.close());
  await once(server, 'listening');
  return server;
}

/** Opens a relay at `/relay` of an http server. Both are closed when the test ends. */
export async function attach(test, web, options = {}, ca = undefined) {
  const relay = new RelayServer({ server: web, path: '/relay', ...options });
  return serve(test, web, relay, ca);
}

async function serve(test, web, relay, ca) {
  const sockets = new Set();
  web.on('connection', (socket) => sockets.add(socket.once('close', () => sockets.delete(socket))));
  test.after(async () => {
    await relay.close();
    const closed = new Promise((resolve) => web.close(resolve));
    // Including those in a handshake.
    sockets.forEach((socket) => socket.destroy());
    await closed;
  });
  web.listen(0, '127.0.0.1');
  await once(web, 'listening');
  const { port } = web.address();
  places.set(relay, { url: `${ca ? 'wss' : 'ws'}://127.0.0.1:${port}/relay`, ca });
  return relay;
}

/** Makes a server's sockets look like TLS sockets, which always stay with Node. */
export function keepsSockets(web) {
  return web.on('connection', (socket) => (socket.encrypted = true));
}

/**
 * The ways to reach a relay. Each has `listen` (as above), whether messages are relayed while the JavaScript thread is
 * blocked, and whether its connections use TLS.
 */
export const WAYS = {
  'its own port': { listen, bypasses: true },
  'an http server': { listen: (test, options) => attach(test, http.createServer(), options), bypasses: process.platform !== 'win32' },
  'an http server with bridged sockets': {
    listen: (test, options) => attach(test, keepsSockets(http.createServer()), options),
  },
  'an https server': {
    listen(test, options) {
      const { cert, key } = makeCertificate();
      return attach(test, https.createServer({ cert, key }), options, cert);
    },
    isSecure: true,
  },
  'Express, beside another WebSocket library': {
    listen(test, options) {
      const web = http.createServer(express().get('/', (request, response) => response.send('the application')));
      const echo = new WebSocketServer({ noServer: true });
      echo.on('connection', (socket) => socket.on('message', (data) => socket.send(data)));
      web.on('upgrade', (request, socket, head) => {
        if (request.url !== '/echo') return;
        echo.handleUpgrade(request, socket, head, (opened) => echo.emit('connection', opened));
      });
      return attach(test, web, options);
    },
  },
  'handleUpgrade()': {
    listen(test, options) {
      const relay = new RelayServer({ noServer: true, path: '/relay', ...options });
      const web = http.createServer().on('upgrade', async (request, socket, head) => {
        // As in an application that awaits something first.
        await new Promise((resolve) => setImmediate(resolve));
        if (relay.shouldHandle(request)) relay.handleUpgrade(request, socket, head);
        else socket.destroy();
      });
      return serve(test, web, relay);
    },
  },
};

/** Returns the `{ url, ca }` of a server, or its argument if it is one. */
export function placeOf(server) {
  return places.get(server) ?? (server.url ? server : { url: `ws://127.0.0.1:${server.address().port}` });
}

/** Returns the WebSocket class that connects to a server. */
export function webSocketOf(server) {
  const { ca } = placeOf(server);
  return class extends WebSocket {
    constructor(url) {
      super(url, { ca });
    }
  };
}

export function pair(server) {
  const clients = [server.registerClient(), server.registerClient()];
  server.registerRelayChannel(clients[0].id, clients[1].id);
  return clients;
}

/** A plain WebSocket connection, with methods for the relay's frames. */
export class Connection {
  #texts = [];
  #wanted = [];

  /** @param tls options for connecting to a TLS server */
  constructor(server, tls) {
    const { url, ca } = placeOf(server);
    this.socket = new WebSocket(tls ? url.replace('ws:', 'wss:') : url, { ca, ...tls });
    this.closed = new Promise((resolve) => {
      this.socket.on('close', (code, reason) => resolve({ code, reason: String(reason) }));
    });
    this.socket.on('error', () => {});
    this.socket.on('message', (data) => {
      this.#texts.push(String(data));
      this.#wanted.shift()?.();
    });
  }

  static async open(server, client, tls) {
    const connection = new Connection(server, tls);
    await once(connection.socket, 'open');
    if (client) connection.authenticate(client);
    return connection;
  }

  authenticate({ id, token }) {
    this.send({ authentication: { clientId: id, token } });
  }

  relay(targetId, message) {
    this.send({ relay: { targetId, message } });
  }

  send(frame) {
    this.socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame));
  }

  /** The number of frames received but not read. */
  get pending() {
    return this.#texts.length;
  }

  /** Resolves to the next frame, as text. */
  async text() {
    while (this.#texts.length === 0) await new Promise((resolve) => this.#wanted.push(resolve));
    return this.#texts.shift();
  }

  async relayed() {
    return JSON.parse(await this.text()).relay;
  }
}

/** Sends an upgrade request. Resolves to the response, with a `socket` if it is 101. */
export function knock(server, { origin, headers, localAddress } = {}) {
  const { url, ca } = placeOf(server);
  const socket = new WebSocket(url, { ca, origin, headers, localAddress });
  socket.on('error', () => {});
  return new Promise((resolve) => {
    socket.on('open', () => {
      resolve({ status: 101, socket });
    });
    socket.on('unexpected-response', async (request, response) => {
      const text = (await response.setEncoding('utf8').toArray()).join('');
      resolve({ status: response.statusCode, text, headers: response.headers });
    });
    socket.on('close', () => resolve({ status: 0 }));
  });
}

export async function statusOf(server, options) {
  const { status, socket } = await knock(server, options);
  socket?.terminate();
  return status;
}

/** Runs a program in a process. Resolves to its exit code and output. */
export async function run(source, ...args) {
  const child = spawn(process.execPath, ['--input-type=module', '--eval', source, ...args], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr']) child[name].setEncoding('utf8').on('data', (text) => (output[name] += text));
  const [code, signal] = await once(child, 'close');
  return { code, signal, ...output };
}
