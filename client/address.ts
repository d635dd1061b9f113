/** From the address that the application gives to the URL to connect to. */

/**
 * `host:port` becomes `ws://host:port`, on a page that was loaded over https `wss://host:port`.
 * In a URL, `http` becomes `ws` and `https` becomes `wss`. What is no address at all the WebSocket refuses.
 */
export function toUrl(address: string): string {
  if (address.includes('://')) return address.replace(/^http/i, 'ws');
  const page = (globalThis as { location?: Location }).location;
  return `ws${page?.protocol === 'https:' ? 's' : ''}://${address}`;
}
