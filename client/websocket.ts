/** The part of the WebSocket API that the client uses. */

/** The part of a WebSocket that the client uses: of a browser, of Node or of the package `ws`. */
export interface WebSocketLike {
  /** 0 connecting, 1 open, 2 closing, 3 closed. */
  readonly readyState: number;
  /** Bytes that were sent and have not yet left, if known. */
  readonly bufferedAmount?: number | undefined;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  send(text: string): void;
  close(code?: number, reason?: string): void;
}

/** A constructor of {@link WebSocketLike} objects. */
export type WebSocketConstructor = new (url: string) => WebSocketLike;
