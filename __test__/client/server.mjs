// A scripted WebSocket server, and a way to import a single module of client/.
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { WebSocketServer } from 'ws';

/** Starts a WebSocket server on a free port. It is closed after the test. */
export async function startServer(t) {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  const connections = queue();
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
    const frames = queue();
    socket.on('message', (data, isBinary) => frames.put(isBinary ? data : String(data)));
    this.socket = socket;
    this.url = url;
    /** Resolves to the next frame. */
    this.frame = frames.next;
    /** All frames so far, in order. */
    this.frames = frames.all;
    this.closed = once(socket, 'close').then(([code, reason]) => ({ code, reason: String(reason) }));
  }

  relay(senderId, ...messages) {
    for (const message of messages) this.socket.send(JSON.stringify({ relay: { senderId, message } }));
  }
}

/** A queue of items whose consumers can wait for the next one. */
function queue() {
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

/** Imports a module of client/, compiled in memory. */
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
