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
  /** Without an offset for a plain client. */
  relay?: { senderId: number; message: string; offset?: number | null } | undefined;
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

const ID = 0;
const OPTIONAL_ID = null;
const TEXT = 'string';
const FLAG = 'boolean';
/** The members that are checked in each frame. Times are checked where they are used. */
const FRAMES = Object.entries({
  relay: { senderId: ID, message: TEXT, offset: OPTIONAL_ID },
  authenticated: { epoch: TEXT, resumed: FLAG },
  accepted: { targetId: ID, seq: ID },
  hold: { targetId: ID, seq: ID },
  rejected: { targetId: ID, seq: ID, code: TEXT, message: TEXT, last: OPTIONAL_ID, notice: OPTIONAL_ID },
  delivered: { targetId: ID, seq: ID },
  presence: { clientId: ID, online: FLAG },
  error: { code: TEXT, message: TEXT },
});

/** Returns the text of a frame. Strings keep their exact value, lone surrogates included. */
export const encode: (frame: ClientFrame) => string = JSON.stringify;

/** Returns the frame in a text, or `undefined` if the text is no frame or a member that this client knows is malformed. */
export function decode(text: unknown): ServerFrame | undefined {
  try {
    const frame = JSON.parse(text as string) as Record<string, Record<string, unknown> | null | undefined>;
    if (FRAMES.every(([name, members]) => !frame[name] || Object.entries(members).every(([member, type]) => isOfType(type, frame[name]?.[member])))) return frame;
  } catch {
    // Not JSON, or `null`. A newer server may send what this client does not understand.
  }
  return undefined;
}

function isOfType(type: string | number | null, value: unknown): boolean {
  return (value ?? type) === null || (type ? typeof value === type : isId(value));
}
