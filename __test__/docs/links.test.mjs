// Links between documents are checked with the heading that they lead to.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { anchorsOf, docProblems } from '../../scripts/docs.mjs';

test('anchors are those that GitHub makes', () => {
  const text = [
    '# Class: RelayServer',
    '### server.close([options], [callback])',
    '### server\\[Symbol.asyncDispose\\]()',
    "### Event: 'open'",
    "### Event: 'open'",
    '## `port` and [others](a.md)',
    '## snake_case – 100 %',
    '```',
    '# a comment in code',
    '```',
    '#no heading',
  ].join('\n');
  assert.deepEqual([...anchorsOf(text)], [
    'class-relayserver',
    'servercloseoptions-callback',
    'serversymbolasyncdispose',
    'event-open',
    'event-open-1',
    'port-and-others',
    'snake_case--100-',
  ]);
});

test('a link to a heading that is not there is named', () => {
  const documents = { 'docs/a.md': '# One\n', 'docs/b.md': '# Two\n[up](#two) [down](#three) [there](a.md#one) [not there](a.md#two) [site](https://example.org/#x) [code](../x.js#L3)' };
  const exists = (path) => path in documents || path === 'x.js';
  assert.deepEqual(docProblems('docs/b.md', documents['docs/b.md'], {}, exists, (path) => documents[path]), [
    'docs/b.md: this document has no heading #three.',
    'docs/b.md: a.md has no heading #two.',
  ]);
});
