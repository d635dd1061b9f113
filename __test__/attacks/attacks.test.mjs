// Whatever strangers and clients do, other clients can communicate. torture.mjs does the same at full size.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { attacks } from './attacks.mjs';
import { run } from './run.mjs';

/** Milliseconds for one attack. */
const TIMEOUT = 300_000;

describe('healthy clients communicate', { concurrency: 2, timeout: Infinity }, () => {
  for (const [name, { needs }] of Object.entries(attacks)) {
    const skip = needs && process.platform !== needs && `needs ${needs}`;
    test(`during: ${name}`, { skip, timeout: TIMEOUT }, async (t) => {
      const { row, wrong } = await run(name, 'quick');
      t.diagnostic(JSON.stringify(row));
      assert.ok(wrong.length === 0, wrong.join('\n'));
    });
  }
});
