// The attacks at full size, with a scorecard: `npm run torture -- attacks`, and behind it words of the names of those that are
// wanted.
import { attacks } from './attacks.mjs';
import { run } from './run.mjs';

/** How often an attack is tried while all that is wrong is a latency: the machine has its pauses too. */
const TRIES = 3;

const words = process.argv.slice(2).map((word) => word.toLowerCase());
const names = Object.keys(attacks).filter((name) => words.every((word) => name.toLowerCase().includes(word)));
if (names.length === 0) {
  console.error(`No attack has "${words.join(' ')}" in its name. There are:\n${Object.keys(attacks).map((name) => `  ${name}`).join('\n')}`);
  process.exitCode = 1;
}
for (const name of names) {
  console.log(`\n${name} …`);
  if (attacks[name].needs && attacks[name].needs !== process.platform) {
    console.log(`  needs ${attacks[name].needs}`);
    continue;
  }
  if (!(await isWithstood(name))) process.exitCode = 1;
}

async function isWithstood(name) {
  for (let tries = 1; ; tries += 1) {
    const { row, wrong, slow } = await run(name, 'long');
    for (const [column, value] of Object.entries(row)) if (column !== 'attack') console.log(`  ${column}: ${value}`);
    const again = wrong.length === 0 && slow.length > 0 && tries < TRIES;
    [...wrong, ...slow].forEach((line) => console.log(`  ${again ? 'again' : 'WRONG'}: ${line}`));
    if (again) continue;
    const isOk = wrong.length + slow.length === 0;
    console.log(isOk ? '  ok' : '  FAILED');
    return isOk;
  }
}
