// The ways to reach a relay, by their names on the command line.
import { WebSocket } from 'ws';
import { WAYS, listen, placeOf } from '../server/support.mjs';
import { makeCertificate } from '../tls/certificates.mjs';

const OPENERS = {
  port: WAYS['its own port'].listen,
  tls: listenSecurely,
  server: WAYS['an http server'].listen,
  bridge: WAYS['an http server with bridged sockets'].listen,
  https: WAYS['an https server'].listen,
  express: WAYS['Express, beside another WebSocket library'].listen,
  handleUpgrade: WAYS['handleUpgrade()'].listen,
};

export const ENTRIES = Object.keys(OPENERS);

/** Interval between two messages of the echo client, in milliseconds. */
const INTERVAL = 5;

/** Opens a relay. Resolves to the server, its `url`, and with TLS its certificate (`ca`). */
export async function open(entry, options) {
  // Cleanup is left to the end of the process.
  const server = await OPENERS[entry]({ after() {} }, options);
  return { server, ...placeOf(server) };
}

async function listenSecurely(test, options) {
  const { cert, key } = makeCertificate();
  const server = await listen(test, { ...options, cert, key });
  return Object.assign(server, { url: `wss://127.0.0.1:${server.address().port}`, ca: cert });
}

/** A client of another WebSocket library on the same server, if the entry has one. */
export class EchoClient {
  #socket;
  #timer;
  #sent = 0;
  #echoed = 0;

  constructor(entry, url) {
    if (entry !== 'express') return;
    this.#socket = new WebSocket(new URL('/echo', url));
    this.#socket.on('open', () => (this.#timer = setInterval(() => this.#socket.send(String((this.#sent += 1))), INTERVAL)));
    // An echo out of order does not count.
    this.#socket.on('message', (data) => (this.#echoed += Number(data) === this.#echoed + 1));
  }

  /** Stops, and resolves to the number of messages sent and echoed. */
  async leave() {
    if (!this.#socket) return { sent: 0, echoed: 0 };
    clearInterval(this.#timer);
    const over = new Promise((resolve) => this.#socket.on('close', resolve));
    // Earlier messages are echoed before the close frame is answered.
    this.#socket.close();
    await over;
    return { sent: this.#sent, echoed: this.#echoed };
  }
}
