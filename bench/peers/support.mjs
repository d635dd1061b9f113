// Shared by all peers: their introduction, and the relay that a Node developer would write.
import { randomBytes } from 'node:crypto';
import { makeCertificate } from '../../__test__/tls/certificates.mjs';

/** The number of clients, and of channels for each. */
export const [count, channels] = process.argv.slice(2, 4).map(Number);

/** Yields the channels: client n has one with n ^ 1, n ^ 2, n ^ 3 and so on. */
export function* pairs() {
  for (let id = 0; id < count; id += 1) {
    for (let step = 1; step <= channels; step += 1) if (id < (id ^ step)) yield [id, id ^ step];
  }
}

/** The TLS credentials `{ cert, key }` in the mode `tls`, or `null`. */
export const credentials = process.argv.slice(4).includes('tls') ? makeCertificate() : null;

/** Prints the port and the clients' tokens for the load generator, and what else is measured. */
export function introduce(port, tokens, dialect = 'relay', more = {}) {
  // Memory is measured after a garbage collection.
  process.on('SIGUSR2', () => globalThis.gc());
  console.log(JSON.stringify({ pid: process.pid, port, tokens, dialect, collectsGarbage: true, isSecure: credentials !== null, ...more }));
}

export const randomTokens = () => Array.from({ length: count }, () => randomBytes(16).toString('hex'));

/** Clients, their sockets, and queued messages for absent clients. `send(socket, message)` is the library's. */
export class Relay {
  #clients;
  #send;

  constructor(tokens, send) {
    this.#clients = tokens.map((token) => ({ token, socket: null, queue: [] }));
    this.#send = send;
  }

  /** Returns the id of the client, or `undefined`. */
  authenticate(socket, { clientId, token }) {
    const client = this.#clients[clientId];
    if (!client || client.token !== token) return undefined;
    client.socket = socket;
    for (const message of client.queue) this.#send(socket, message);
    client.queue = [];
    return clientId;
  }

  relay(senderId, targetId, message) {
    // Whether the two have a channel.
    const step = senderId ^ targetId;
    if (step < 1 || step > channels) return;
    const { socket, queue } = this.#clients[targetId];
    if (socket) this.#send(socket, { senderId, message });
    else queue.push({ senderId, message });
  }

  leave(id, socket) {
    if (id !== undefined && this.#clients[id].socket === socket) this.#clients[id].socket = null;
  }
}
