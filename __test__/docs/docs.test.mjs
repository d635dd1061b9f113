// The code of README and docs works: what is marked is run, all of it parses.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { root } from '../../scripts/process.mjs';
import { launchBrowser } from '../browser/browser.mjs';
import { DOCUMENTS, blocksOf, runOf, syntaxProblem } from './blocks.mjs';
import { installPackage, runInPage, runProgram, talkInTabs } from './run.mjs';

const blocks = DOCUMENTS.flatMap((path) => blocksOf(path));
let browser;
let installed;
before(async () => {
  installed = installPackage();
  browser = await launchBrowser();
});
after(async () => {
  await browser?.close();
  installed?.remove();
});

/** Runs a block in the way that its mark asks for. */
async function run(t, block) {
  const { kind, prints } = runOf(block);
  if (kind === 'client' || kind === 'page') return runInPage(t, browser, block.code, kind);
  const visit = kind === 'tabs' ? (address) => talkInTabs(t, browser, address) : undefined;
  return runProgram(installed.folder, block.code, { kind, prints, visit });
}

for (const path of DOCUMENTS) {
  test(`the code of ${path} parses`, async () => {
    const problems = await Promise.all(blocks.filter((block) => block.path === path).map(syntaxProblem));
    assert.deepEqual(problems.filter(Boolean), []);
  });
}

for (const block of blocks.filter((block) => runOf(block))) test(`${block.place} runs`, (t) => run(t, block));

test('each mark stands on the line before a block', () => {
  for (const path of DOCUMENTS) {
    const marks = readFileSync(join(root, path), 'utf8').match(/^ *<!-- (run|documented)\b.*-->/gm) ?? [];
    assert.deepEqual(marks, blocks.filter((block) => block.path === path && block.mark).map(({ mark }) => `<!-- ${mark} -->`), path);
  }
});

test('there are blocks of each kind', () => {
  const kinds = new Set(blocks.map((block) => runOf(block)?.kind));
  for (const kind of ['program', 'tabs', 'server', 'node', 'client', 'page']) assert.ok(kinds.has(kind), kind);
});

const broken = (mark, code) => blocksOf('broken.md', `<!-- ${mark} -->\n\`\`\`javascript\n${code}\n\`\`\`\n`)[0];
const RELAY = "const RelayServer = require('websocket-relay');";

for (const [what, block, expected] of [
  ['that throws', broken('run', 'throw new Error("no")'), /it never listened.*no/s],
  ['that throws later', broken('run', `${RELAY} const relayServer = new RelayServer({ port: 4000 }); setTimeout(() => { throw new Error("no"); });`), /no/],
  ['that has an option that does not exist', broken('run', `${RELAY} const relayServer = new RelayServer({ port: 4000, ports: 1 });`), /WEBSOCKET_RELAY_UNKNOWN_OPTION/],
  ['that prints something else', broken('run: server, prints yes', 'console.log("no"); process.exit();'), /it never listened|did not print/],
  ['that calls what does not exist', broken('run: server', 'relayServer.registerChannel(client1.id, client2.id);'), /registerChannel is not a function/],
  ['that imports what is not there', broken('run', "import nothing from 'websocket-relay/nothing';"), /ERR_PACKAGE_PATH_NOT_EXPORTED/],
]) {
  test(`a program ${what} fails`, (t) => assert.rejects(run(t, block), { message: expected }));
}

for (const [what, block, expected] of [
  ['that throws', broken('run: client', 'channel.sent("hello")'), /sent is not a function/],
  ['that prints an error', broken('run: page', 'new WebSocketRelay(address, { clientId, token, reliable: true }); console.error("no");'), /errors in the pages/],
]) {
  test(`a page ${what} fails`, async (t) => {
    const hooks = [];
    const inside = { after: (hook) => hooks.push(hook) };
    t.after(async () => { for (const hook of hooks.slice(1)) await hook(); });
    // What the page has printed is looked at by the first hook, as the page is closed.
    await assert.rejects(async () => { try { await run(inside, block); } finally { await hooks[0](); } }, { message: expected });
  });
}

test('a mark that does not exist fails, and so does code that does not parse', async () => {
  assert.throws(() => runOf(broken('run: sever', '')), /broken\.md:2: there is no mark "run: sever"/);
  assert.match(await syntaxProblem(broken('', 'channel.send(;')), /^broken\.md:\d does not parse/);
  assert.match(await syntaxProblem({ language: 'html', code: '<script>if (</script>', place: 'a' }), /^a does not parse/);
});
