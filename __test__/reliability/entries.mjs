// The ways to a relay that the harness takes, by their names on the command line.
import { WebSocket } from 'ws';
import { WAYS, listen, placeOf } from '../server/support.mjs';
import { makeCertificate } from '../tls/certificates.mjs';

const OPENERS = {
  port: WAYS['its own port'].listen,
  tls: listenSecurely,
  server: WAYS['an http server'].listen,
  bridge: WAYS['an http server whose sockets stay with it'].listen,
  https: WAYS['an https server'].listen,
  express: WAYS['Express, beside another WebSocket library'].listen,
  handleUpgrade: WAYS['handleUpgrade()'].listen,
};

export const ENTRIES = Object.keys(OPENERS);

/** How often the echoClient says something, in milliseconds. */
const SAID_EVERY = 5;

/** Opens a relay; resolves to itself and where it is reached: its `url`, and its certificate (`ca`) if it speaks TLS. */
export async function open(entry, options) {
  // What a test closes at its end is closed with the process.
  const server = await OPENERS[entry]({ after() {} }, options);
  return { server, ...placeOf(server) };
}

async function listenSecurely(test, options) {
  const { cert, key } = makeCertificate();
  const server = await listen(test, { ...options, cert, key });
  return Object.assign(server, { url: `wss://127.0.0.1:${server.address().port}`, ca: cert });
}

/** Somebody who talks to the other WebSocket library on the same server, where there is one. */
export class EchoClient {
  #socket;
  #timer;
  #sent = 0;
  #echoed = 0;

  constructor(entry, url) {
    if (entry !== 'express') return;
    this.#socket = new WebSocket(new URL('/echo', url));
    this.#socket.on('open', () => (this.#timer = setInterval(() => this.#socket.send(String((this.#sent += 1))), SAID_EVERY)));
    // An echo that is out of turn counts as none.
    this.#socket.on('message', (data) => (this.#echoed += Number(data) === this.#echoed + 1));
  }

  /** Ends the talk, and resolves to how much was said and echoed. */
  async leave() {
    if (!this.#socket) return { sent: 0, echoed: 0 };
    clearInterval(this.#timer);
    const over = new Promise((resolve) => this.#socket.on('close', resolve));
    // What was said before it is echoed before it is answered.
    this.#socket.close();
    await over;
    return { sent: this.#sent, echoed: this.#echoed };
  }
}
