/** The wire protocol: frames to text and back. Pure: no socket, no clock. */

import { isId } from './check.js';

/** What the client says. */
export type ClientFrame =
  | { authentication: { clientId: number; token: string } }
  | { relay: { targetId: number; message: string } };

/** What the server says, as far as this client understands it. */
export interface ServerFrame {
  relay: { senderId: number; message: string };
}

/** The text of a frame. Every JavaScript string keeps its exact value, lone surrogates included. */
export function encode(frame: ClientFrame): string {
  return JSON.stringify(frame);
}

/** The frame that a text holds; `undefined` for what is malformed and for frames that this client does not know. */
export function decode(text: unknown): ServerFrame | undefined {
  try {
    const frame = JSON.parse(text as string) as ServerFrame;
    if (isId(frame.relay.senderId) && typeof frame.relay.message === 'string') return frame;
  } catch {
    // Not JSON, or JSON without a relay: a page is not to break over what a newer server says.
  }
  return undefined;
}
