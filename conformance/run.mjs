// npm run conformance: runs the cases of Autobahn|Testsuite against the engine as an echo server. --quick leaves out the cases
// about limits.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { Problem, root, seconds } from '../scripts/process.mjs';
import { checkRust } from '../scripts/rust.mjs';
import { LIMITS, groups, summarize, table } from './report.mjs';
import { prepareSuite } from './suite.mjs';

const AGENT = 'websocket-relay';
const folder = join(root, 'target/conformance');
const report = join(folder, 'report');

async function main() {
  const { values: options } = parseArgs({ options: { quick: { type: 'boolean', default: false } } });
  const chosen = groups.filter(({ number }) => !options.quick || number !== LIMITS);
  checkRust();
  const wstest = await prepareSuite(folder);
  console.log('Building the echo server …');
  const echo = await startEcho();
  try {
    await runCases(wstest, echo.address, chosen);
  } finally {
    await echo.stop();
  }
  const index = JSON.parse(readFileSync(join(report, 'index.json'), 'utf8'));
  const { rows, notes } = summarize(chosen, index[AGENT] ?? {});
  console.log(`\n${table(rows)}\n\n${[...notes, `Details: ${join(report, 'index.html')}`].join('\n')}`);
  if (rows.some(({ failed }) => failed > 0)) process.exitCode = 1;
}

async function runCases(wstest, address, chosen) {
  // An old report must not count.
  rmSync(report, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const spec = join(folder, 'spec.json');
  writeFileSync(
    spec,
    JSON.stringify({
      outdir: report,
      servers: [{ agent: AGENT, url: `ws://${address}` }],
      cases: chosen.map(({ number }) => `${number}.*`),
      'exclude-cases': [],
      'exclude-agent-cases': {},
    }),
  );
  console.log(`Running ${chosen.reduce((sum, { cases }) => sum + cases, 0)} cases …`);
  const started = performance.now();
  await wstest('--mode', 'fuzzingclient', '--spec', spec);
  console.log(`Done in ${seconds(started)}.`);
}

/** Builds and starts the echo server. It ends when its input ends. */
async function startEcho() {
  const features = ['--no-default-features', '--features', 'conformance'];
  const child = spawn('cargo', ['run', '--quiet', '--locked', '--example', 'echo', ...features], {
    cwd: root,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = once(child, 'close').then(([code, signal]) => {
    if (code !== 0) throw new Problem(`The echo server ended (${signal ?? `exit code ${code}`}).`);
  });
  const [address] = await Promise.race([once(createInterface(child.stdout), 'line'), ended]);
  const stop = () => {
    child.stdin.end();
    return ended;
  };
  return { address, stop };
}

await main().catch((error) => {
  console.error(error instanceof Problem ? error.message : error);
  process.exitCode = 1;
});
