// The current uWebSockets.js, which needs glibc 2.38, or else the newest build that does with less.
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const { platform, arch, versions } = process;
const CANDIDATES = [
  { version: '20.57', path: '@btc-vision/uwebsockets.js' },
  // Its own entry would fall back to another implementation without failing.
  { version: '20.30', path: `@trufflesuite/uws-js-unofficial/binaries/uws_${platform}_${arch}_${versions.modules}.node` },
];

function load() {
  for (const { version, path } of CANDIDATES) {
    try {
      return { uWS: require(path), version };
    } catch {
      // The next one, then.
    }
  }
  throw new Error('No build of uWebSockets.js loads here.');
}

export const { uWS, version } = load();
