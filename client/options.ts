/** The options of a relay: what they mean, their defaults, and their checks. */

import * as check from './check.js';
import type { WebSocketConstructor } from './websocket.js';

/** How a relay connects. All of it may as well stand beside the `clientId` and the `token`. */
export interface RelayOptions {
  /**
   * Whether messages are delivered exactly once and in order across lost connections. Default: true. With `false` the
   * relay speaks the plain protocol: it connects once, and what is on the way when the connection breaks is lost.
   */
  reliable?: boolean | undefined;
  /** Whether to connect again after a connection is lost or did not come about. Default: true; never if not `reliable`. */
  reconnection?: boolean | undefined;
  /** How many milliseconds to wait at most before the first attempt to connect again; each time twice as long. Default: 1000. */
  reconnectionDelay?: number | undefined;
  /** How many milliseconds to wait at most before any attempt. Default: 5000. */
  reconnectionDelayMax?: number | undefined;
  /** How much shorter a wait may be by chance: 0 not at all, 0.5 (the default) by up to half, 1 by up to all of it. */
  randomizationFactor?: number | undefined;
  /** How many attempts to make in a row before giving up. Default: `Infinity`. */
  reconnectionAttempts?: number | undefined;
  /** The WebSocket class to connect with. Default: the global one; in Node without one, that of the package `ws`. */
  WebSocket?: WebSocketConstructor | undefined;
}

/** Who connects: the second parameter of `WebSocketRelay`. */
export interface Authentication extends RelayOptions {
  /** The id that the server gave when it registered this client: an integer from 0 to 2^53 − 1. */
  clientId: number;
  /**
   * The token that came with it; or a function that gives it, or a promise of it, and that is asked anew for each
   * connection. If it fails that is an `'error'`, and the relay tries again later.
   */
  token: string | (() => string | Promise<string>);
}

/** The options with their defaults, checked. */
export type Settings = { [Name in keyof Authentication]-?: NonNullable<Authentication[Name]> };

/** The defaults, and the most that they may be. */
const DEFAULTS = {
  reliable: [true, 1],
  reconnection: [true, 1],
  reconnectionDelay: [1000, 2 ** 31 - 1],
  reconnectionDelayMax: [5000, 2 ** 31 - 1],
  randomizationFactor: [0.5, 1],
  reconnectionAttempts: [Infinity, Infinity],
} as const;

/** Checks what the application gave and fills in what it left out. Anything `null` or `undefined` counts as left out. */
export function settingsOf(given: Authentication): Settings {
  const { clientId, token } = given;
  check.required(clientId, 'clientId property is required in authentication object');
  check.required(token, 'token property is required in authentication object');
  check.id(clientId, 'clientId');
  if (typeof token !== 'function') check.ofType('string', token, 'token');
  const settings = { ...given, WebSocket: given.WebSocket ?? WebSocket };
  check.ofType('function', settings.WebSocket, 'WebSocket');
  for (const [name, [usual, most]] of Object.entries(DEFAULTS)) {
    const value = ((settings as Record<string, unknown>)[name] ??= usual);
    check.ofType(typeof usual as 'boolean' | 'number', value, name);
    check.upTo(most, value as number, name);
  }
  return settings as Settings;
}
