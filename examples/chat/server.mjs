// A chat between two browser tabs, on one port: the page comes from a plain http server, every message goes through the relay.
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import RelayServer from 'websocket-relay';
import { Rooms } from './rooms.mjs';

const PORT = Number(process.env.PORT ?? 3000);
const HOST = process.env.HOST ?? '127.0.0.1';

const FILES = {
  '/': ['page/index.html', 'text/html'],
  '/side-by-side': ['page/index.html', 'text/html'],
  '/chat.css': ['page/chat.css', 'text/css'],
  '/chat.js': ['page/chat.js', 'text/javascript'],
  '/websocket_relay.min.js': ['../../dist/websocket_relay.min.js', 'text/javascript'],
};

const server = createServer((request, response) => {
  answer(request, response).catch((error) => {
    console.error(error);
    response.destroy();
  });
});
await listen(PORT);
// Errors of the server come to the relay too, from here on: a port that is taken is none.
const relay = new RelayServer({ server, path: '/relay' });
relay.on('error', (error) => console.error(`relay: ${error.message}`));
const rooms = new Rooms(relay);
console.log(`Open http://${HOST}:${server.address().port}/ in two tabs, or .../side-by-side in one. Ctrl-C stops it.`);
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, stop);

async function listen(port) {
  server.listen(port, HOST);
  try {
    await once(server, 'listening');
  } catch (error) {
    if (error.code !== 'EADDRINUSE' || port === 0) throw error;
    console.log(`Port ${port} is taken, so here is another.`);
    await listen(0);
  }
}

async function stop() {
  await relay.close();
  server.close();
  server.closeAllConnections();
}

async function answer(request, response) {
  const { pathname, searchParams } = new URL(request.url, 'http://localhost');
  const what = `${request.method} ${pathname}`;
  if (what === 'POST /seat') await giveSeat(searchParams, response);
  else if (request.method === 'GET' && FILES[pathname]) await sendFile(FILES[pathname], response);
  else response.writeHead(404).end();
}

async function sendFile([path, type], response) {
  const body = await readFile(new URL(path, import.meta.url));
  response.writeHead(200, {
    'content-type': `${type}; charset=utf-8`,
    'cache-control': 'no-cache',
    'content-security-policy': "default-src 'self'; connect-src 'self' ws:; img-src data:",
  });
  response.end(body);
}

/** What a page needs to talk: who it is itself, and with whom it shares a channel. */
async function giveSeat(query, response) {
  const seat = await rooms.take(query.get('group'), query.get('key'));
  if (!seat) return response.writeHead(503).end();
  const { key, id, token, name, room } = seat;
  const other = room.seats.find((one) => one !== seat);
  response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(JSON.stringify({ key, me: { name, id, token }, other: { name: other.name, id: other.id } }));
}
