/** Tells when a page may have been offline, out of sight or out of time. */

/** The events of a page that say so. Those of the document bubble up to its window. */
const EVENTS = ['online', 'pageshow', 'visibilitychange'] as const;

/** What there is of a page. Outside of browsers nothing is. */
type Page = Partial<Pick<typeof globalThis, 'addEventListener' | 'removeEventListener' | 'document'>>;

/** Calls a function when the page is online, in sight, or back from the cache of pages, again. Returns what ends that. */
export function onWake(wake: () => void): () => void {
  const page = globalThis as Page;
  const listener = ({ type, persisted }: Event & { persisted?: boolean }): void => {
    // Every page that is loaded is shown, and one that is hidden has become no more awake.
    if (type === 'pageshow' ? persisted : type === 'online' || !page.document?.hidden) wake();
  };
  for (const event of EVENTS) page.addEventListener?.(event, listener);
  return () => {
    for (const event of EVENTS) page.removeEventListener?.(event, listener);
  };
}
