/* global WebSocketRelay */
const RETRY = 1_000;
/** The longest delay between two attempts to reconnect. Servers give pages 3 seconds to come back to their seats. */
const reconnectionDelayMax = 1_000;
/** The close code that a client gets when a newer connection has taken its place. */
const REPLACED = 4501;

/**
 * Keeps this page connected. A lost connection is made again by the relay's client, also after a restart of the server, whose
 * store keeps the seat. Only if the server no longer knows the seat does the page ask for another one.
 *
 * @param {() => Promise<Response>} ask asks the page's own server for a seat: `{ id, token, … }`, or status 503 if all are taken
 * @param enter called with each seat, its relay, and whether the server no longer knew the seat that this page had
 * @param show called with each state, `connecting`, `connected`, `reconnecting`, `away`, `full` or `replaced`, and what goes on from `replaced`
 * @param {string} [memory] the name under which the tab remembers its seat when it is reloaded
 */
export async function keepSeat(ask, enter, show, memory) {
  let wasConnected = false;
  let wasForgotten = false;
  for (;;) {
    show('connecting');
    const seat = JSON.parse((memory && sessionStorage.getItem(memory)) ?? 'null') ?? (await takeSeat(ask, show));
    if (memory) sessionStorage.setItem(memory, JSON.stringify(seat));
    const relay = new WebSocketRelay(`${location.origin}/relay`, { clientId: seat.id, token: seat.token, reconnectionDelayMax });
    relay.on('error', ({ message }) => console.info(message));
    enter(seat, relay, wasForgotten);
    relay.on('open', () => {
      wasConnected = true;
      show('connected');
    });
    const code = await closedForGood(relay, ({ willReconnect }) => show(willReconnect ? 'reconnecting' : 'connecting'));
    if (memory) sessionStorage.removeItem(memory);
    if (code === REPLACED) await new Promise((goOn) => show('replaced', goOn));
    wasForgotten = wasConnected && code !== REPLACED;
  }
}

async function takeSeat(ask, show) {
  for (;;) {
    try {
      const response = await ask();
      if (response.ok) return await response.json();
      show(response.status === 503 ? 'full' : 'away');
    } catch {
      show('away');
    }
    await wait(RETRY);
  }
}

/**
 * Resolves to the close code when the relay is closed for good.
 *
 * @param whenClosed called at once each time that a connection ends
 */
export function closedForGood(relay, whenClosed) {
  return new Promise((resolve) => {
    relay.on('close', (info) => {
      whenClosed(info);
      if (!info.willReconnect) resolve(info.code);
    });
  });
}

export const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
