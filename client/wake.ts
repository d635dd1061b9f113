/** Detects that a page is back after it was offline, hidden or frozen. */

/** The events that tell so. Those of the document bubble up to the window. */
const EVENTS = ['online', 'pageshow', 'visibilitychange'] as const;

/** The globals of a page; undefined outside of browsers. */
type Page = Partial<Pick<typeof globalThis, 'addEventListener' | 'removeEventListener' | 'document'>>;

/**
 * Calls a function when the page comes online, becomes visible or returns from the back/forward cache.
 *
 * @returns a function that stops listening
 */
export function onWake(wake: () => void): () => void {
  const page = globalThis as Page;
  const listener = ({ type, persisted }: Event & { persisted?: boolean }): void => {
    // `pageshow` also follows every load, `visibilitychange` also comes when the page is hidden.
    if (type === 'pageshow' ? persisted : type === 'online' || !page.document?.hidden) wake();
  };
  const forAll = (method: 'addEventListener' | 'removeEventListener'): void => EVENTS.forEach((event) => page[method]?.(event, listener));
  forAll('addEventListener');
  return () => forAll('removeEventListener');
}
