/** The wire protocol: frames to text and back. Pure: no socket, no clock. */

import { isId } from './check.js';
import type { Outgoing } from './outbox.js';

/** What a client of generation 2 adds to its authentication. */
export interface Resumption {
  version: 2;
  session: string;
  /** Counts the connections of the session, from 1. */
  connection: number;
  /** Left out of the first connection. */
  epoch: string | undefined;
  receipts: true;
  presence: true;
}

/** What the client says. */
export type ClientFrame =
  | { authentication: { clientId: number; token: string } & Partial<Resumption> }
  | { relay: { targetId: number; message: string } & Partial<Outgoing> }
  | { received: { senderId: number; offset: number } }
  | { pong: object };

/** What the server says, as far as this client understands it: each frame has one of these members. */
export interface ServerFrame {
  /** Without an offset in generation 1. */
  relay?: { senderId: number; message: string; offset?: number } | undefined;
  authenticated?: { epoch: string; resumed: boolean; pingInterval: number; pingTimeout: number } | undefined;
  accepted?: { targetId: number; seq: number } | undefined;
  hold?: { targetId: number; seq: number; retryAfter?: number } | undefined;
  /** `last` and the `notice` of a number only of those that were accepted, and have expired. */
  rejected?: { targetId: number; seq: number; code: string; message: string; last: number; notice: number } | undefined;
  delivered?: { targetId: number; seq: number } | undefined;
  presence?: { clientId: number; online: boolean } | undefined;
  error?: { code: string; message: string } | undefined;
  ping?: object | undefined;
}

/** The text of a frame. Every JavaScript string keeps its exact value, lone surrogates included. */
export const encode: (frame: ClientFrame) => string = JSON.stringify;

/**
 * The frame that a text holds; `undefined` for what is malformed. Of frames that this client does not know it sees no
 * member that it knows. Only what goes on to the application is looked at closely: a number that is none compares as
 * false, and so does nothing.
 */
export function decode(text: unknown): ServerFrame | undefined {
  try {
    const frame = JSON.parse(text as string) as ServerFrame;
    const { relay } = frame;
    if (!relay || (isId(relay.senderId) && typeof relay.message === 'string' && isId(relay.offset ?? 0))) return frame;
  } catch {
    // Not JSON, or `null`: a page is not to break over what a newer server says.
  }
  return undefined;
}
