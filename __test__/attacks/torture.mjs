// `npm run torture -- attacks` runs the attacks at full size and prints a scorecard; with words, only attacks whose names contain
// them.
import { attacks } from './attacks.mjs';
import { run, shown } from './run.mjs';

/**
 * Factor by which the p99 latency of healthy clients may grow during an attack. If it grows more, the attack is repeated on another
 * server, and the factor applies to the latency then, because the attack also takes cores and kernel time.
 */
const SLOWER = 2;

/** Number of tries, because the machine has pauses of its own. */
const TRIES = 3;

const words = process.argv.slice(2).map((word) => word.toLowerCase());
const names = Object.keys(attacks).filter((name) => words.every((word) => name.toLowerCase().includes(word)));
if (names.length === 0) {
  console.error(`No attack is named "${words.join(' ')}". The attacks are:\n${Object.keys(attacks).map((name) => `  ${name}`).join('\n')}`);
  process.exitCode = 1;
}
for (const name of names) {
  console.log(`\n${name} …`);
  if (attacks[name].needs && attacks[name].needs !== process.platform) {
    console.log(`  needs ${attacks[name].needs}`);
    continue;
  }
  const isOk = await isWithstood(name);
  console.log(isOk ? '  ok' : '  FAILED');
  if (!isOk) process.exitCode = 1;
}

async function isWithstood(name) {
  for (let tries = 1; ; tries += 1) {
    const { row, wrong, p99 } = await run(name, 'long');
    for (const [column, value] of Object.entries(row)) if (column !== 'attack') console.log(`  ${column}: ${value}`);
    wrong.forEach((line) => console.log(`  WRONG: ${line}`));
    if (wrong.length > 0) return false;
    // Their own connections end meanwhile, so there is nothing to compare.
    if (attacks[name].interrupts || p99.during <= SLOWER * p99.before) return true;
    const elsewhere = await run(name, 'long', { isElsewhere: true });
    console.log(`  p99 during the same on another server (ms): ${shown(elsewhere.p99.during)}`);
    if (p99.during <= SLOWER * elsewhere.p99.during) return true;
    console.log(`  ${tries < TRIES ? 'again' : 'WRONG'}: the p99 latency is more than ${SLOWER} times as long`);
    if (tries === TRIES) return false;
  }
}
