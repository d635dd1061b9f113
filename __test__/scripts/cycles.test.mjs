import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cyclesIn, importsOf } from '../../scripts/cycles.mjs';

test('finds every cycle of imports, once', () => {
  assert.deepEqual(cyclesIn({ a: ['b', 'c'], b: ['c'], c: [] }), []);
  assert.deepEqual(cyclesIn({ a: ['b'], b: ['c'], c: ['b', 'd'], d: ['d'] }), [['d', 'd'], ['b', 'c', 'b']].reverse());
});

test('reads require() and import, but not imports of types or comments', () => {
  const source = `
    const { a } = require('./a.js');
    /** @param {import('./comment.js').C} c */
    // require('./comment.js')
    const fs = require('node:fs');`;
  assert.deepEqual(importsOf('lib/x.js', source), ['lib/a.js']);
  const module = `import { a } from './a.js';\nimport type { B } from './b.js';\nexport * from '../c.js';\nimport {\n  d,\n} from './d.js';\n`;
  assert.deepEqual(importsOf('client/x.ts', module), ['client/a.js', 'c.js', 'client/d.js']);
});
