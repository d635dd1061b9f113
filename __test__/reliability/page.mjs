// A page of a client: one WebSocketRelay, on connections that end with the page.
import { WebSocket } from 'ws';
import WebSocketRelay from 'websocket-relay/client';

/** Not what suits people and their networks: the harness has many connections to lose. */
const OPTIONS = { reconnectionDelay: 20, reconnectionDelayMax: 500 };

/**
 * Milliseconds until a connection is authenticated. The client itself would wait for longer than the harness wants to. Each
 * try has as long again, or on a machine that is too busy none would ever do.
 */
const CONNECT_TIMEOUT = 4000;

export class Page {
  #relay;
  #channel;
  #gone = false;
  /** How often it has tried since it was last connected. */
  #tries = 0;
  /** Messages whose callbacks are still to come. */
  outstanding = 0;
  /** How many connections it has made. */
  connections = 0;
  /** How many `hold` and `rejected` frames it got. */
  refusals = 0;

  /**
   * @param server - its `url`, and its certificate (`ca`) if it speaks TLS
   * @param client - who: `id` and `token`
   * @param listeners - `hear(text)`, `open()`, `end({ code, reason })` when it will not come back. None is called any more
   *   once the page is gone.
   */
  constructor({ url, ca }, client, peerId, reliable, listeners) {
    this.#relay = new WebSocketRelay(url, {
      ...OPTIONS,
      ...{ clientId: client.id, token: client.token, reliable, WebSocket: this.#webSocket(reliable, ca) },
    });
    this.#channel = this.#relay.createChannel(peerId);
    this.#channel.on('message', (text) => this.#gone || listeners.hear(text));
    this.#relay.on('open', () => this.#gone || listeners.open());
    // Each break of a connection is one; what ends the page is told by 'close'.
    this.#relay.on('error', () => {});
    // There are many, and else they are printed.
    this.#relay.on('connectError', () => {});
    this.#relay.on('close', (info) => {
      if (this.#gone || info.willReconnect) return;
      this.#gone = true;
      listeners.end(info);
    });
  }

  /**
   * Sends; `settled(error)` is called when the message was accepted or refused, if the page lives to hear of it. A plain
   * client never does, and gives none.
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

  /** What a reload does to a page, or a crash: it is gone in the middle of whatever it did, without a goodbye. */
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
        // Without a listener it would throw what nobody hears any more.
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
