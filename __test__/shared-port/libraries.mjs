// Libraries that share an http server with the relay: the real packages, set up as documented.
import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import { tmpdir } from 'node:os';
import websocket from '@fastify/websocket';
import { createAdaptorServer } from '@hono/node-server';
import { createNodeWebSocket } from '@hono/node-ws';
import Fastify from 'fastify';
import { Hono } from 'hono';
import { Server as SocketIo } from 'socket.io';
import { io } from 'socket.io-client';
import { createServer as createVite } from 'vite';
import WebSocket, { WebSocketServer } from 'ws';
import { makeCertificate } from '../tls/certificates.mjs';

/** The servers of the tests: connections of the first are detached from Node, those of the second are bridged. */
export const SERVERS = {
  http: () => ({ scheme: 'ws', create: http.createServer, serverOptions: {} }),
  https() {
    const { cert, key } = makeCertificate();
    return { scheme: 'wss', create: https.createServer, serverOptions: { cert, key }, ca: cert };
  },
};

const makeWeb = ({ create, serverOptions }, handler) => create(serverOptions, handler);

const echo = (socket) => socket.on('message', (data) => socket.send(String(data)));

/** Opens a WebSocket at a path and resolves to its echo. */
async function hearEcho(url, ca, path = '/chat') {
  const socket = new WebSocket(`${url}${path}`, { ca });
  await once(socket, 'open');
  socket.send('its own');
  const [data] = await once(socket, 'message');
  socket.terminate();
  return String(data);
}

/**
 * Each `open` resolves to the server, and to `talk`, which tries the library's own WebSockets and resolves to 'its own'.
 * A library with `loses` answers bridged requests that are not its own; the error then matches `loses`.
 */
export const LIBRARIES = {
  'socket.io': {
    open(t, server) {
      const web = makeWeb(server);
      // Shorter than the default of 1,000.
      const other = new SocketIo(web, { destroyUpgradeTimeout: 20 });
      other.on('connection', (socket) => socket.on('say', (text) => socket.emit('said', text)));
      t.after(() => other.close());
      const talk = async (url, ca) => {
        const socket = io(url, { transports: ['websocket'], reconnection: false, ca });
        await new Promise((resolve, reject) => socket.on('connect', resolve).on('connect_error', reject));
        socket.emit('say', 'its own');
        const said = await new Promise((resolve, reject) => socket.on('said', resolve).on('disconnect', reject));
        socket.close();
        return said;
      };
      return { web, talk };
    },
  },
  'ws without a path': {
    open(t, server) {
      const web = makeWeb(server);
      const other = new WebSocketServer({ server: web }).on('connection', echo);
      t.after(() => other.close());
      return { web, talk: hearEcho };
    },
    loses: /likely: ws$/,
  },
  'ws with a path': {
    open(t, server) {
      const web = makeWeb(server);
      const other = new WebSocketServer({ server: web, path: '/chat' }).on('connection', echo);
      t.after(() => other.close());
      return { web, talk: hearEcho };
    },
    loses: /likely: .*\bws\b/,
  },
  'ws with noServer': {
    open(t, server) {
      const web = makeWeb(server);
      const other = new WebSocketServer({ noServer: true }).on('connection', echo);
      web.on('upgrade', (request, socket, head) => {
        if (request.url === '/chat') other.handleUpgrade(request, socket, head, (opened) => other.emit('connection', opened));
      });
      return { web, talk: hearEcho };
    },
  },
  Fastify: {
    async open(t, server) {
      let web;
      const app = Fastify({ serverFactory: (handler) => (web = makeWeb(server, handler)) });
      await app.register(websocket);
      app.get('/chat', { websocket: true }, echo);
      await app.ready();
      t.after(() => app.close());
      return { web, talk: hearEcho };
    },
    loses: /likely: @fastify\/websocket/,
  },
  Hono: {
    open(t, { create, serverOptions }) {
      const app = new Hono();
      const { injectWebSocket, upgradeWebSocket } = createNodeWebSocket({ app });
      app.get('/chat', upgradeWebSocket(() => ({ onMessage: ({ data }, socket) => socket.send(data) })));
      const web = createAdaptorServer({ fetch: app.fetch, createServer: create, serverOptions });
      injectWebSocket(web);
      return { web, talk: hearEcho };
    },
    loses: /likely: @hono\/node-ws/,
  },
  Vite: {
    async open(t, server) {
      const web = makeWeb(server, (request, response) => vite.middlewares(request, response));
      const vite = await createVite({
        ...{ configFile: false, root: tmpdir(), cacheDir: `${tmpdir()}/websocket-relay-vite`, appType: 'custom', logLevel: 'silent' },
        server: { middlewareMode: true, hmr: { server: web }, watch: null },
        optimizeDeps: { noDiscovery: true },
      });
      t.after(() => vite.close());
      const talk = async (url, ca) => {
        const socket = new WebSocket(`${url}/?token=${vite.config.webSocketToken}`, 'vite-hmr', { ca });
        const [data] = await once(socket, 'message');
        socket.terminate();
        return JSON.parse(data).type === 'connected' && 'its own';
      };
      return { web, talk };
    },
  },
  // Next is 340 MB with React and its compiler. This is what `next/dist/server/lib/router-server.js` of 16.4 does with upgrades: it looks up the
  // path, ends requests for its own pages, and ignores unknown ones.
  Next: {
    open(t, server) {
      const pages = new Set(['/', '/about']);
      const web = makeWeb(server);
      const upgradeHandler = async (request, socket, head) => {
        request.on('error', () => {});
        socket.on('error', () => {});
        if (request.url.startsWith('/_next/hmr')) {
          hmr.handleUpgrade(request, socket, head, (opened) => hmr.emit('connection', opened));
          return;
        }
        const output = await Promise.resolve(pages.has(request.url));
        if (output) socket.end();
      };
      const hmr = new WebSocketServer({ noServer: true }).on('connection', echo);
      web.on('upgrade', async (request, socket, head) => upgradeHandler(request, socket, head));
      return { web, talk: (url, ca) => hearEcho(url, ca, '/_next/hmr?id=1') };
    },
  },
};
