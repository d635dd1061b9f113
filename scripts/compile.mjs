// Compiles client/ into dist/: the browser script, the modules for bundlers and for Node, and their types.
import { execFile } from 'node:child_process';
import { copyFile, mkdir, readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc');

const shared = { absWorkingDir: root, bundle: true, logLevel: 'silent', charset: 'utf8' };
// The newest feature that the client uses is private class members, which every browser has had since 2021.
const browser = { ...shared, target: ['chrome91', 'edge91', 'firefox90', 'safari15'] };

// React Native uses the modules for bundlers.
const native = {
  name: 'native',
  setup: ({ onResolve }) => onResolve({ filter: /^\.\/hidden\.js$/ }, () => ({ path: `${root}/client/hidden.native.ts` })),
};
const bundlers = { ...browser, inject: ['client/globals.native.ts'], plugins: [native] };

// Members that end with `_` are internal. Neither the public API nor the wire protocol has any.
const small = { minify: true, sourcemap: true, mangleProps: /[^_]_$/ };

const bundles = {
  'websocket_relay.js': { ...browser, entryPoints: ['client/browser.ts'], format: 'iife' },
  'websocket_relay.min.js': { ...browser, entryPoints: ['client/browser.ts'], format: 'iife', ...small },
  'client.browser.mjs': { ...bundlers, entryPoints: ['client/index.ts'], format: 'esm' },
  'client.browser.cjs': { ...bundlers, entryPoints: ['client/commonjs.ts'], format: 'cjs' },
  'client.cjs': {
    ...shared,
    entryPoints: ['client/commonjs.ts'],
    format: 'cjs',
    platform: 'node',
    target: 'node20',
    inject: ['client/websocket.node.ts'],
    external: ['ws'],
  },
};
const copies = ['client.mjs', 'client.d.mts', 'client.d.cts'];

try {
  await rm(`${root}/dist/types`, { recursive: true, force: true });
  await mkdir(`${root}/dist`, { recursive: true });
  await Promise.all([
    declarations(),
    ...Object.entries(bundles).map(([name, options]) => build({ ...options, outfile: `dist/${name}` })),
    ...copies.map((name) => copyFile(`${root}/client/package/${name}`, `${root}/dist/${name}`)),
  ]);
  for (const name of [...Object.keys(bundles), ...copies]) await report(`dist/${name}`);
} catch (error) {
  console.error(`The client does not compile.\n\n${error.stdout || error.message}`);
  process.exitCode = 1;
}

async function declarations() {
  await promisify(execFile)(process.execPath, [tsc, '--project', 'tsconfig.json'], { cwd: root });
  // Entries and shims declare nothing that index.ts does not.
  await Promise.all(['browser', 'commonjs', 'globals.native', 'hidden.native', 'websocket.node'].map((name) => rm(`${root}/dist/types/${name}.d.ts`)));
}

async function report(path) {
  const bytes = await readFile(`${root}/${path}`);
  const gzip = gzipSync(bytes, { level: 9 }).length;
  console.log(`${path.padEnd(30)} ${String(bytes.length).padStart(6)} bytes ${String(gzip).padStart(6)} gzip`);
}
