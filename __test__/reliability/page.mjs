// A page of a client: one WebSocketRelay, whose connections end with the page.
import { WebSocket } from 'ws';
import WebSocketRelay from 'websocket-relay/client';

/** Shorter delays than in reality: the harness loses many connections. */
const OPTIONS = { reconnectionDelay: 20, reconnectionDelayMax: 500 };

/**
 * Milliseconds for a connection to authenticate, less than the client itself would wait. Each attempt gets as much again,
 * or none would succeed on a busy machine.
 */
const CONNECT_TIMEOUT = 4000;

export class Page {
  #relay;
  #channel;
  #gone = false;
  /** Attempts since the last connection. */
  #tries = 0;
  /** Messages whose callbacks were not called yet. */
  outstanding = 0;
  /** The number of connections made. */
  connections = 0;
  /** The number of `hold` and `rejected` frames received. */
  refusals = 0;

  /**
   * @param server - its `url`, and with TLS its certificate (`ca`)
   * @param client - `id` and `token`
   * @param listeners - `hear(text)`, `open({ resumed })`, and `end({ code, reason })` when it will not reconnect. None is called once
   *   the page is gone.
   */
  constructor({ url, ca }, client, peerId, reliable, listeners) {
    this.#relay = new WebSocketRelay(url, {
      ...OPTIONS,
      ...{ clientId: client.id, token: client.token, reliable, WebSocket: this.#webSocket(reliable, ca) },
    });
    this.#channel = this.#relay.createChannel(peerId);
    this.#channel.on('message', (text) => this.#gone || listeners.hear(text));
    this.#relay.on('open', (info) => this.#gone || listeners.open(info));
    // Every lost connection is an 'error'; the end of the page is 'close'.
    this.#relay.on('error', () => {});
    // Otherwise they would be printed, and there are many.
    this.#relay.on('connectError', () => {});
    this.#relay.on('close', (info) => {
      if (this.#gone || info.willReconnect) return;
      this.#gone = true;
      listeners.end(info);
    });
  }

  /**
   * Sends a message. `settled(error)` is called when it is accepted or rejected, unless the page is gone by then. Not for
   * plain clients.
   */
  send(text, settled) {
    if (!settled) return this.#channel.send(text);
    this.#channel.send(text, (error) => {
      this.outstanding -= 1;
      if (!this.#gone) settled(error);
    });
    this.outstanding += 1;
    return undefined;
  }

  /** Whether its WebSocket is open. */
  get isOpen() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  /** Ends the page like a reload or a crash, without closing anything. */
  drop() {
    this.#gone = true;
    this.socket?.vanish();
    this.#relay.close();
  }

  #webSocket(reliable, ca) {
    const page = this;
    return class extends WebSocket {
      constructor(url) {
        super(url, { ca });
        page.socket = this;
        page.connections += 1;
        // Without a listener it would throw.
        this.on('error', () => {});
        if (reliable) {
          page.#tries += 1;
          const timer = setTimeout(() => this.terminate(), page.#tries * CONNECT_TIMEOUT);
          this.once('message', () => {
            clearTimeout(timer);
            page.#tries = 0;
          });
          this.once('close', () => clearTimeout(timer));
        }
        this.on('message', (data) => {
          if (/^\{"(hold|rejected)"/.test(data.toString('latin1', 0, 12))) page.refusals += 1;
        });
      }

      vanish() {
        this.onopen = this.onmessage = this.onerror = this.onclose = null;
        this.terminate();
      }
    };
  }
}
