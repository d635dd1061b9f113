/** From the address that the application gives to the URL to connect to. */

/** What this looks at of a page or a worker. All of it may be missing. */
interface Page {
  location?: { protocol?: string; origin?: string; ancestorOrigins?: ArrayLike<string> };
  /** A page may have given it another meaning. */
  origin?: unknown;
  isSecureContext?: boolean;
}

/** The schemes without a host, and what there is in the place of an origin: these say nothing. */
const LOCAL = /^(about|blob|data|null)/;
/** Browsers let secure pages connect to their own machine without TLS. */
const LOOPBACK = /^(localhost|127\.[\d.]+|\[::1\])(?![^:/?#])/i;

/**
 * `host:port` becomes `ws://host:port`, in a page that was loaded over https `wss://host:port`, and so it does in the
 * workers and frames of such a page. In a URL, `http` becomes `ws` and `https` becomes `wss`. What is no address at all the
 * WebSocket refuses.
 */
export function toUrl(address: string): string {
  if (address.includes('://')) return address.replace(/^http/i, 'ws');
  return `ws${isSecure(globalThis, address) ? 's' : ''}://${address}`;
}

/** Whether a browser lets this page or worker connect to a host over TLS only. */
function isSecure({ location, origin, isSecureContext }: Page, address: string): boolean | undefined {
  // A blob: worker and an about:srcdoc frame have the origin of their creator, and a frame without one has a page around it.
  const page = [location?.protocol, location?.origin, origin, ...Array.from(location?.ancestorOrigins ?? [])].find((url) => typeof url === 'string' && url && !LOCAL.test(url)) as string | undefined;
  if (page) return page.startsWith('https:');
  // A data: worker knows only that its page is secure, as one of `http://localhost` is too.
  return isSecureContext && !LOOPBACK.test(address);
}
