// The builds of uWebSockets.js by version. Run as a program, it loads one and prints the version of the C library.
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const require = createRequire(import.meta.url);
const { platform, arch, versions } = process;
const PATHS = {
  // Needs glibc 2.38.
  '20.57': '@btc-vision/uwebsockets.js',
  // Works with older versions. The package's entry would fall back to another implementation silently.
  '20.30': `@trufflesuite/uws-js-unofficial/binaries/uws_${platform}_${arch}_${versions.modules}.node`,
};

export const load = (build) => require(PATHS[build]);

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  load(process.argv[2]);
  console.log(process.report.getReport().header.glibcVersionRuntime);
}
