/** Turns the address that the application passes in into a WebSocket URL. */

/** The globals of a page or a worker that are looked at. Any of them may be missing. */
interface Page {
  location?: { protocol?: string; origin?: string; ancestorOrigins?: ArrayLike<string> };
  /** A page may have redefined it. */
  origin?: unknown;
  isSecureContext?: boolean;
}

/** Matches an origin or a scheme that tells whether the page is secure, unlike those without a host and the origin `null`. */
const TELLING = /^(?!about|blob|data|null).+:/;
/** Browsers let secure pages connect to their own machine without TLS. */
const LOOPBACK = /^(localhost|127\.[\d.]+|\[::1\])(?![^:/?#])/i;

/**
 * Returns the URL to connect to. `host:port` becomes `ws://host:port`, or `wss://host:port` on a page loaded over https and
 * in its workers and frames. In a URL, `http` becomes `ws` and `https` becomes `wss`. Anything else is left to the
 * WebSocket to refuse.
 */
export function toUrl(address: string): string {
  if (address.includes('://')) return address.replace(/^http/i, 'ws');
  return `ws${isSecure(globalThis, address) ? 's' : ''}://${address}`;
}

/** Returns a URL without its user, query and fragment, which may hold secrets. */
export function withoutSecrets(url: string): string {
  return url.replace(/[?#][^]*/, '').replace(/\/\/[^/]*@/, '//');
}

/** Whether the browser requires TLS for a connection from this page or worker to the address. */
function isSecure({ location, origin, isSecureContext }: Page, address: string): boolean | undefined {
  // A blob: worker and an about:srcdoc frame have the origin of their creator. A frame with an opaque origin has ancestors.
  const page = [location?.protocol, location?.origin, origin, ...((location?.ancestorOrigins ?? []) as string[])].find((url) => TELLING.test(url as string)) as string | undefined;
  if (page) return page.startsWith('https:');
  // A data: worker knows only that its context is secure, as that of `http://localhost` is too.
  return isSecureContext && !LOOPBACK.test(address);
}
