// A chat between two browser tabs, on one port: the page comes from a plain http server, every message goes through the relay.
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import RelayServer from 'websocket-relay';
import { closeOnSignal, fail, listening, storeBeside } from '../lib/server.mjs';
import { Rooms } from './rooms.mjs';

/** Unless a port is named, another one will do if 3000 is in use. */
const PORT = process.env.PORT;
const HOST = process.env.HOST ?? '127.0.0.1';

const FILES = {
  '/': ['page/index.html', 'text/html'],
  '/side-by-side': ['page/index.html', 'text/html'],
  '/chat.css': ['page/chat.css', 'text/css'],
  '/chat.mjs': ['page/chat.mjs', 'text/javascript'],
  '/icon.svg': ['../lib/page/icon.svg', 'image/svg+xml'],
  '/look.css': ['../lib/page/look.css', 'text/css'],
  '/page.mjs': ['../lib/page/page.mjs', 'text/javascript'],
  '/seat.mjs': ['../lib/page/seat.mjs', 'text/javascript'],
  '/websocket_relay.min.js': ['../../dist/websocket_relay.min.js', 'text/javascript'],
};

const server = createServer((request, response) => {
  answer(request, response).catch((error) => {
    console.error(error);
    response.destroy();
  });
});
await listen(Number(PORT ?? 3000)).catch(fail);
// After the port is open: from here on the relay passes on every error of the server.
const store = storeBeside(import.meta.url);
const relay = new RelayServer({ server, path: '/relay', store });
const rooms = new Rooms(relay);
closeOnSignal(relay, server);
await listening(relay, store, `Open http://${HOST}:${server.address().port}/ in two tabs, or .../side-by-side in one. Ctrl-C stops it.`);
relay.on('error', (error) => console.error(`relay: ${error.message}`));

async function listen(port) {
  server.listen(port, HOST);
  try {
    await once(server, 'listening');
  } catch (error) {
    if (error.code !== 'EADDRINUSE' || PORT !== undefined) throw error;
    console.log(`Port ${port} is in use, so here is another one.`);
    await listen(0);
  }
}

async function answer(request, response) {
  const { pathname, searchParams } = new URL(request.url, 'http://localhost');
  if (request.method === 'POST' && pathname === '/seat') await giveSeat(searchParams, response);
  else if (request.method === 'GET' && FILES[pathname]) await sendFile(FILES[pathname], response);
  else response.writeHead(404).end();
}

async function sendFile([path, type], response) {
  const body = await readFile(new URL(path, import.meta.url));
  response.writeHead(200, {
    'content-type': `${type}; charset=utf-8`,
    'cache-control': 'no-cache',
    'content-security-policy': "default-src 'self'; connect-src 'self' ws:",
  });
  response.end(body);
}

/** Answers with what a page needs to talk: the client that it is, and the client that it shares a channel with. */
async function giveSeat(query, response) {
  const seat = await rooms.take(query.get('group'), query.get('key'));
  if (!seat) return response.writeHead(503).end();
  const { key, id, token, name, room } = seat;
  const other = room.seats.find((one) => one.id !== id);
  response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(JSON.stringify({ key, id, token, name, otherId: other.id, otherName: other.name }));
}
