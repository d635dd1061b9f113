/** Carries frames to and from the server. */

import { printable } from './printable.js';
import type { Watchdog } from './watchdog.js';
import type { WebSocketLike } from './websocket.js';

/** How long a connection may take to open and to be authenticated, in milliseconds. */
const CONNECT_TIMEOUT = 20_000;
/** How long the server may take to answer a close, in milliseconds. */
const CLOSE_TIMEOUT = 5_000;
/** More bytes than this in the send buffer mean that the server does not read. */
const MAX_BUFFERED = 16 * 2 ** 20;

/** What a relay needs of a transport. It is opened again after each connection. */
export interface Transport {
  /** Starts a new connection. The last one must have ended or been abandoned. */
  open_(): void;
  /** Sends a frame; does nothing without a connection. */
  send_(text: string): void;
  /** Closes the connection, of which only its end is reported from here on. Returns false if there is none. */
  close_(code: number, reason: string): boolean;
  /** Closes the connection, if there is one, and reports nothing more of it. */
  abandon_(): void;
  /** Whether the connection is closing or closed, so that frames would be dropped without an error. */
  readonly isClosing_: boolean;
  /** Whether the send buffer is longer than it should be. */
  readonly isClogged_: boolean;
}

/** What a transport reports. */
export interface TransportListener {
  opened_(): void;
  /** @param data - the frame, if the server keeps the protocol */
  received_(data: unknown): void;
  /**
   * The connection ended or could not be made.
   *
   * @param code - a WebSocket close code
   * @param cause - the error that explains it, if there is one
   */
  ended_(code: number, reason: string, cause?: unknown): void;
}

/** One WebSocket after the other. */
export class WebSocketTransport implements Transport {
  #socket: WebSocketLike | undefined;
  readonly #connect: () => WebSocketLike;
  readonly #listener: TransportListener;
  readonly #watchdog: Watchdog | undefined;

  /**
   * @param connect - creates a WebSocket
   * @param watchdog - watches each connection, if given
   */
  constructor(connect: () => WebSocketLike, listener: TransportListener, watchdog?: Watchdog) {
    this.#connect = connect;
    this.#listener = listener;
    this.#watchdog = watchdog;
  }

  open_(): void {
    const socket = (this.#socket = this.#connect());
    const listener = this.#listener;
    // An abandoned WebSocket may still report something.
    const ifCurrent =
      <Event>(act: (event: Event) => void) =>
      (event: Event): void => {
        if (socket === this.#socket) act(event);
      };
    socket.onopen = ifCurrent(() => listener.opened_());
    socket.onmessage = ifCurrent(({ data }: { data: unknown }) => {
      listener.received_(data);
      if (socket === this.#socket) this.#watchdog?.heard_();
    });
    // Not every runtime says how a connection ended, or why.
    socket.onclose = ifCurrent(({ code, reason }: { code?: number; reason?: unknown }) =>
      listener.ended_(code ?? 1006, printable(reason)),
    );
    socket.onerror = ifCurrent(({ message, error }: { message?: string; error?: { code?: string } | undefined }) => {
      // The 'close' that follows says nothing more, and some WebSockets for Node do not send one.
      socket.onclose = null;
      // If a host has several addresses and all refuse, Node gives only a code.
      const reason = printable((message || error?.code || '').trim());
      queueMicrotask(ifCurrent(() => listener.ended_(1006, reason, error)) as () => void);
    });
    this.#watchdog?.watch_(CONNECT_TIMEOUT);
  }

  send_(text: string): void {
    this.#socket?.send(text);
  }

  close_(code: number, reason: string): boolean {
    const socket = this.#socket;
    if (!socket) return false;
    socket.close(code, reason);
    socket.onmessage = null;
    this.#watchdog?.watch_(CLOSE_TIMEOUT);
    return true;
  }

  abandon_(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    // It may be open, but dead.
    socket?.close();
    this.#watchdog?.stop_();
  }

  get isClosing_(): boolean {
    return (this.#socket?.readyState as number) > 1;
  }

  get isClogged_(): boolean {
    return (this.#socket?.bufferedAmount ?? 0) > MAX_BUFFERED;
  }
}
