// A server on a free port, and plain WebSocket connections that count what arrives.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import RelayServer from 'websocket-relay';
import WebSocket from 'ws';

/** A server that listens, closed when the test ends. */
export async function listen(test, options = {}) {
  const server = new RelayServer({ port: 0, host: '127.0.0.1', ...options });
  test.after(() => server.close());
  await once(server, 'listening');
  return server;
}

export function pair(server) {
  const clients = [server.registerClient(), server.registerClient()];
  server.registerRelayChannel(clients[0].id, clients[1].id);
  return clients;
}

/** A connection of a WebSocket library, which knows nothing of relays. */
export class Connection {
  #texts = [];
  #wanted = [];

  constructor(server) {
    this.socket = new WebSocket(`ws://127.0.0.1:${server.address().port}`);
    this.closed = new Promise((resolve) => {
      this.socket.on('close', (code, reason) => resolve({ code, reason: String(reason) }));
    });
    this.socket.on('error', () => {});
    this.socket.on('message', (data) => {
      this.#texts.push(String(data));
      this.#wanted.shift()?.();
    });
  }

  static async open(server, client) {
    const connection = new Connection(server);
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

  /** The next frame, as text. */
  async text() {
    while (this.#texts.length === 0) await new Promise((resolve) => this.#wanted.push(resolve));
    return this.#texts.shift();
  }

  async relayed() {
    return JSON.parse(await this.text()).relay;
  }
}

/** Runs a program as a user would and returns how it ended and what it printed. */
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
