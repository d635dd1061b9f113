import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const require = createRequire(import.meta.url);
const root = fileURLToPath(new URL('../../', import.meta.url));

test('says how to build the addon if it is missing or cannot be loaded', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'loader-'));
  t.after(() => rmSync(folder, { recursive: true }));
  for (const path of ['native.js', 'lib/binary-name.js', 'package.json']) cpSync(join(root, path), join(folder, path));
  const load = () => require(join(folder, 'native.js'));

  assert.throws(load, { code: 'ERR_NATIVE_NOT_FOUND', message: /is missing\.\n.*\n {2}git clone https:.* && npm pack\)\n {2}npm install / });
  writeFileSync(join(folder, require(join(folder, 'lib/binary-name.js'))()), 'no library');
  assert.throws(load, { code: 'ERR_DLOPEN_FAILED', message: /\n {2}git clone / });
  writeFileSync(join(folder, 'Cargo.toml'), '');
  assert.throws(load, { code: 'ERR_DLOPEN_FAILED', message: /\nBuild it with: cd .* && npm run build$/ });
});
