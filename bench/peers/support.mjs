// What all peers have in common: how they introduce themselves, and the relay that a Node developer would write.
import { randomBytes } from 'node:crypto';
import { makeCertificate } from '../../__test__/tls/certificates.mjs';

/** How many clients there are to be, and how many channels each. */
export const [count, channels] = process.argv.slice(2, 4).map(Number);

/** Client n has its channels with n ^ 1, n ^ 2, n ^ 3 and so on. */
export function* pairs() {
  for (let id = 0; id < count; id += 1) {
    for (let step = 1; step <= channels; step += 1) if (id < (id ^ step)) yield [id, id ^ step];
  }
}

/** What TLS is spoken with, `{ cert, key }`; nothing without the mode `tls`. */
export const credentials = process.argv.slice(4).includes('tls') ? makeCertificate() : null;

/** Tells the load generator where the server is and who its clients are. */
export function introduce(port, tokens, dialect = 'relay') {
  // What a server holds is what is left after collecting garbage.
  process.on('SIGUSR2', () => globalThis.gc());
  console.log(JSON.stringify({ pid: process.pid, port, tokens, dialect, collectsGarbage: true, isSecure: credentials !== null }));
}

export const randomTokens = () => Array.from({ length: count }, () => randomBytes(16).toString('hex'));

/** Clients, their sockets, and the messages of those that are away. `send(socket, text)` is the library's. */
export class Relay {
  #clients;
  #send;

  constructor(tokens, send) {
    this.#clients = tokens.map((token) => ({ token, socket: null, queue: [] }));
    this.#send = send;
  }

  /** The id of the client, or undefined. */
  authenticate(socket, { clientId, token }) {
    const client = this.#clients[clientId];
    if (!client || client.token !== token) return undefined;
    client.socket = socket;
    for (const message of client.queue) this.#send(socket, message);
    client.queue = [];
    return clientId;
  }

  relay(senderId, targetId, message) {
    // Who has a channel to whom.
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
