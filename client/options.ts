/** The options of a relay: their meaning, defaults and checks. */

import * as check from './check.js';
import type { WebSocketConstructor } from './websocket.js';

/** How a relay connects. The options may also be passed together with the `clientId` and the `token`. */
export interface RelayOptions {
  /**
   * Whether messages are delivered exactly once and in order, even if connections are lost. Default: true. With `false` the
   * relay speaks the plain protocol: it connects once, and messages on their way are lost with the connection.
   */
  reliable?: boolean | undefined;
  /** Whether to reconnect after a connection was lost or could not be made. Default: true; never if not `reliable`. */
  reconnection?: boolean | undefined;
  /** The longest delay before the first attempt to reconnect, in milliseconds. Doubles with each attempt. Default: 1000. */
  reconnectionDelay?: number | undefined;
  /** The longest delay before any attempt, in milliseconds. Default: 5000. */
  reconnectionDelayMax?: number | undefined;
  /** The random part by which a delay is shortened: 0 for none, 0.5 (the default) for up to half, 1 for up to all of it. */
  randomizationFactor?: number | undefined;
  /** The number of failed attempts in a row after which the relay gives up. Default: `Infinity`. */
  reconnectionAttempts?: number | undefined;
  /** The WebSocket class to connect with. Default: the global one; in Node without one, that of the package `ws`. */
  WebSocket?: WebSocketConstructor | undefined;
}

/** The client that connects: the second parameter of `WebSocketRelay`. */
export interface Authentication extends RelayOptions {
  /** The id that the server assigned when it registered this client: an integer from 0 to 2^53 − 1. */
  clientId: number;
  /**
   * The token that belongs to it, or a function that returns the token or a promise of it. The function is called for each
   * connection, also after the server has refused a token (4500, 4503): it may replace up to five in a row, and the next
   * refusal closes the relay. If it fails, that is an `'error'` and the relay tries again later.
   */
  token: string | (() => string | Promise<string>);
}

/** The options with their defaults, checked. */
export type Settings = { [Name in keyof Authentication]-?: NonNullable<Authentication[Name]> };

/** The default and the maximum of each option. */
const DEFAULTS = {
  reliable: [true, 1],
  reconnection: [true, 1],
  reconnectionDelay: [1000, 2 ** 31 - 1],
  reconnectionDelayMax: [5000, 2 ** 31 - 1],
  randomizationFactor: [0.5, 1],
  reconnectionAttempts: [Infinity, Infinity],
} as const;

/** Checks the options and fills in the defaults. `null` and `undefined` count as left out. */
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
