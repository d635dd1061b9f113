/** The wire protocol: encodes and decodes frames. Pure. */

import { isId } from './check.js';
import type { Outgoing } from './outbox.js';

/** What a reliable client adds to its authentication. */
export interface Resumption {
  version: 2;
  session: string;
  /** Counts the connections of the session, from 1. */
  connection: number;
  /** Undefined on the first connection. */
  epoch: string | undefined;
  receipts: true;
  presence: true;
}

/** A frame from the client to the server. */
export type ClientFrame =
  | { authentication: { clientId: number; token: string } & Partial<Resumption> }
  | { relay: { targetId: number; message: string } & Partial<Outgoing> }
  | { received: { senderId: number; offset: number } }
  | { ping: object }
  | { pong: object };

/** A frame from the server, reduced to the members that this client knows. The server sends one of them per frame. */
export interface ServerFrame {
  /**
   * Only with `senderId` and `message` for a plain client. `session` and `seq` say which message of the sender it is; without
   * a `session` it is the one that was named last on this connection. Older servers send neither.
   */
  relay?: { senderId: number; message: string; offset?: number | null; seq?: number | null; session?: string | null } | undefined;
  authenticated?: { epoch: string; resumed: boolean; pingInterval?: unknown; pingTimeout?: unknown } | undefined;
  accepted?: { targetId: number; seq: number } | undefined;
  hold?: { targetId: number; seq: number; retryAfter?: unknown } | undefined;
  /** With `last` and `notice` if it is about accepted messages that expired. */
  rejected?: { targetId: number; seq: number; code: string; message: string; last?: number | null; notice?: number | null } | undefined;
  delivered?: { targetId: number; seq: number } | undefined;
  presence?: { clientId: number; online: boolean } | undefined;
  error?: { code: string; message: string } | undefined;
  ping?: unknown;
  pong?: unknown;
}

/** The name of a session is opaque, but has this many characters. */
const SESSION_LENGTH = 16;
const isText = (value: unknown): boolean => typeof value === 'string';
const isFlag = (value: unknown): boolean => typeof value === 'boolean';
const isOptionalId = (value: unknown): boolean => value == null || isId(value);
const isOptionalSession = (value: unknown): boolean => value == null || (isText(value) && (value as string).length === SESSION_LENGTH);

/** What is checked of each frame: its ids, texts and numbers of messages. Times are checked where they are used. */
const FRAMES = Object.entries({
  relay: { senderId: isId, message: isText, offset: isOptionalId, seq: isOptionalId, session: isOptionalSession },
  authenticated: { epoch: isText, resumed: isFlag },
  accepted: { targetId: isId, seq: isId },
  hold: { targetId: isId, seq: isId },
  rejected: { targetId: isId, seq: isId, code: isText, message: isText, last: isOptionalId, notice: isOptionalId },
  delivered: { targetId: isId, seq: isId },
  presence: { clientId: isId, online: isFlag },
  error: { code: isText, message: isText },
});

/** Returns the text of a frame. Strings keep their exact value, lone surrogates included. */
export const encode: (frame: ClientFrame) => string = JSON.stringify;

/** Returns the frame in a text, or `undefined` if the text is no frame or a member that this client knows is malformed. */
export function decode(text: unknown): ServerFrame | undefined {
  try {
    const frame = JSON.parse(text as string) as Record<string, Record<string, unknown> | null | undefined>;
    if (FRAMES.every(([name, members]) => !frame[name] || Object.entries(members).every(([member, isValid]) => isValid(frame[name]?.[member])))) return frame;
  } catch {
    // Not JSON, or `null`. A newer server may send what this client does not understand.
  }
  return undefined;
}

/** Returns a time of a frame, or the default if the server sent none. */
export function milliseconds(value: unknown, usual: number): number {
  return typeof value === 'number' && value >= 0 ? value : usual;
}
