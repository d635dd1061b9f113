// A server that does what a test tells it to, and a way to load a file of client/ on its own.
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { WebSocketServer } from 'ws';

/** Starts a WebSocket server on a free port. It ends with the test. */
export async function startServer(t) {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  const connections = inbox();
  server.on('connection', (socket, request) => connections.put(new Peer(socket, request.url)));
  await once(server, 'listening');
  t.after(() => {
    for (const socket of server.clients) socket.terminate();
    server.close();
  });
  return { address: `127.0.0.1:${server.address().port}`, connection: connections.next, connections: connections.all };
}

/** The server's end of a connection. */
class Peer {
  constructor(socket, url) {
    const frames = inbox();
    socket.on('message', (data, isBinary) => frames.put(isBinary ? data : String(data)));
    this.socket = socket;
    this.url = url;
    /** The next frame that no one has asked for yet. */
    this.frame = frames.next;
    /** All frames so far, as they came. */
    this.frames = frames.all;
    this.closed = once(socket, 'close').then(([code, reason]) => ({ code, reason: String(reason) }));
  }

  relay(senderId, ...messages) {
    for (const message of messages) this.socket.send(JSON.stringify({ relay: { senderId, message } }));
  }
}

/** What comes, in order, to those who wait for it. */
function inbox() {
  const all = [];
  const waiting = [];
  let taken = 0;
  return {
    all,
    put(item) {
      all.push(item);
      if (waiting.length) {
        taken++;
        waiting.shift()(item);
      }
    },
    next: () => (taken < all.length ? Promise.resolve(all[taken++]) : new Promise((resolve) => waiting.push(resolve))),
  };
}

/** Imports a file of client/, compiled in memory. */
export async function importSource(name) {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL(`../../client/${name}.ts`, import.meta.url))],
    bundle: true,
    format: 'esm',
    write: false,
    target: 'node20',
  });
  return import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].contents).toString('base64')}`);
}
