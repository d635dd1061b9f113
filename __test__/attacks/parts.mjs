// Shared by several attacks.
import { Opcode, frame } from './peer.mjs';

export const KIB = 2 ** 10;
export const MIB = 2 ** 20;

/** Options scaled down for a short run, so that a busy machine can run them. */
export const SOON = { headersTimeout: 2000, authTimeout: 2000, messageTimeout: 2000, closeTimeout: 500, pingInterval: 500, pingTimeout: 2000 };

/** Whether the server has closed that many connections, with any code. */
export function allAreClosed(peers) {
  return ({ closed }) => Object.values(closed).reduce((sum, count) => sum + count, 0) >= peers;
}

export function* forEver(chunk) {
  for (;;) yield chunk;
}

export function* times(count, chunk) {
  for (let n = 0; n < count; n += 1) yield chunk;
}

/** A message that begins and does not end. */
export const begin = frame(Opcode.TEXT, 'x', { fin: false });
