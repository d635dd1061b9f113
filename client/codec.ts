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
  | { ping: object }
  | { pong: object };

/** What the server says, as far as this client understands it: each frame has one of these members. */
export interface ServerFrame {
  /** Without an offset in generation 1. */
  relay?: { senderId: number; message: string; offset?: number } | undefined;
  /** The times are checked where they are used. */
  authenticated?: { epoch: string; resumed: boolean; pingInterval?: unknown; pingTimeout?: unknown } | undefined;
  accepted?: { targetId: number; seq: number } | undefined;
  hold?: { targetId: number; seq: number; retryAfter?: unknown } | undefined;
  /** `last` and the `notice` of a number only of those that were accepted, and have expired. */
  rejected?: { targetId: number; seq: number; code: string; message: string; last?: number | null; notice?: number | null } | undefined;
  delivered?: { targetId: number; seq: number } | undefined;
  presence?: { clientId: number; online: boolean } | undefined;
  error?: { code: string; message: string } | undefined;
  ping?: unknown;
  pong?: unknown;
}

/** Types of members of frames; those that do not stand here are ids, or numbers of messages. */
const TYPES: Record<string, string | undefined> = { message: 'string', code: 'string', epoch: 'string', resumed: 'boolean', online: 'boolean' };
/** The members that a frame must have; with a question mark, may have. */
const MEMBERS = Object.entries({
  relay: 'senderId message offset?',
  authenticated: 'epoch resumed',
  accepted: 'targetId seq',
  hold: 'targetId seq',
  rejected: 'targetId seq code message last? notice?',
  delivered: 'targetId seq',
  presence: 'clientId online',
  error: 'code message',
}).map(([frame, members]) => [frame, members.split(' ').map((member) => member.split('?') as [string, string?])] as const);

/** The text of a frame. Every JavaScript string keeps its exact value, lone surrogates included. */
export const encode: (frame: ClientFrame) => string = JSON.stringify;

/**
 * The frame that a text holds; `undefined` for what is malformed. Of frames that this client does not know it sees no
 * member that it knows, and in those that it knows every member is what it must be.
 */
export function decode(text: unknown): ServerFrame | undefined {
  try {
    const frame = JSON.parse(text as string) as Record<string, Record<string, unknown> | null | undefined>;
    const fits = MEMBERS.every(([name, members]) => {
      const values = frame[name];
      return !values || members.every(([member, optional]) => (optional !== undefined && (values[member] ?? null) === null) || isOfType(TYPES[member], values[member]));
    });
    if (fits) return frame;
  } catch {
    // Not JSON, or `null`: a page is not to break over what a newer server says.
  }
  return undefined;
}

function isOfType(type: string | undefined, value: unknown): boolean {
  return type ? typeof value === type : isId(value);
}
