/* global WebSocketRelay */
const RETRY = 1_000;
/** The close code that a client gets when a newer connection has taken its place. */
const REPLACED = 4501;

/**
 * Keeps this page connected. A lost connection is made again by the relay's client; only if the server no longer knows the
 * seat, as after a restart, does the page ask for another one.
 *
 * @param {() => Promise<Response>} ask asks the page's own server for a seat: `{ id, token, … }`, or status 503 if all are taken
 * @param enter called with each seat, its relay, and whether it replaces a seat that this page was connected with
 * @param show called with each state, `connecting`, `connected`, `away`, `full` or `replaced`, and what goes on from `replaced`
 * @param {string} [memory] the name under which the tab remembers its seat when it is reloaded
 */
export async function keepSeat(ask, enter, show, memory) {
  let wasConnected = false;
  for (;;) {
    show('connecting');
    const seat = JSON.parse((memory && sessionStorage.getItem(memory)) ?? 'null') ?? (await takeSeat(ask, show));
    if (memory) sessionStorage.setItem(memory, JSON.stringify(seat));
    const relay = new WebSocketRelay(`${location.origin}/relay`, { clientId: seat.id, token: seat.token });
    relay.on('error', ({ message }) => console.info(message));
    enter(seat, relay, wasConnected);
    relay.on('open', () => {
      wasConnected = true;
      show('connected');
    });
    const code = await closedForGood(relay, () => show('away'));
    if (memory) sessionStorage.removeItem(memory);
    if (code === REPLACED) await new Promise((goOn) => show('replaced', goOn));
  }
}

async function takeSeat(ask, show) {
  for (;;) {
    const response = await ask().catch(() => undefined);
    if (response?.ok) return response.json();
    show(response?.status === 503 ? 'full' : 'away');
    await wait(RETRY);
  }
}

/** Resolves to the code with which the server ended the connection for good. */
export function closedForGood(relay, whenLost) {
  return new Promise((resolve) => {
    relay.on('close', ({ code, willReconnect }) => (willReconnect ? whenLost() : resolve(code)));
  });
}

export const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
