/** What the client needs of a WebSocket. */

/** As much of a WebSocket as the client uses: that of browsers, of Node or of the package `ws`. */
export interface WebSocketLike {
  /** 0 connecting, 1 open, 2 closing, 3 closed. */
  readonly readyState: number;
  /** Bytes that were sent and have not left yet, where that is known. */
  readonly bufferedAmount?: number | undefined;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  send(text: string): void;
  close(code?: number, reason?: string): void;
}

/** A class that makes {@link WebSocketLike}s. */
export type WebSocketConstructor = new (url: string) => WebSocketLike;
