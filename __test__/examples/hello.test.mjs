import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const file = fileURLToPath(new URL('../../examples/hello.mjs', import.meta.url));

test('two clients say hello, and the process exits', async () => {
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [file], { timeout: 30_000 });
  assert.deepEqual({ stdout, stderr }, { stdout: 'hello world\n', stderr: '' });
});
