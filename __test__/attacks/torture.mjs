// The attacks at full size, with a scorecard: `npm run torture -- attacks`, and behind it words of the names of those that are
// wanted.
import { attacks } from './attacks.mjs';
import { run } from './run.mjs';

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
  const { row, wrong } = await run(name, 'long');
  for (const [column, value] of Object.entries(row)) if (column !== 'attack') console.log(`  ${column}: ${value}`);
  wrong.forEach((line) => console.log(`  WRONG: ${line}`));
  console.log(wrong.length === 0 ? '  ok' : '  FAILED');
  if (wrong.length > 0) process.exitCode = 1;
}
