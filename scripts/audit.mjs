// npm run audit: whether what this is made of is sound; `npm run audit -- licences` only that, which needs no network.
import { runSteps } from './steps.mjs';

const npm = process.platform === 'win32' ? ['cmd', '/c', 'npm'] : ['npm'];

/** cargo-deny is not part of Rust: `cargo install cargo-deny --locked`. What it holds to is in deny.toml. */
const steps = [
  { name: 'Crates: licences, bans, sources', command: ['cargo', 'deny', 'check', 'licenses', 'bans', 'sources'] },
  { name: 'Crates: advisories of RustSec', command: ['cargo', 'deny', 'check', 'advisories'] },
  { name: 'Packages: advisories of npm, for who installs this', command: [...npm, 'audit', '--omit=dev'] },
  { name: 'Packages: advisories of npm, for who works on it', command: [...npm, 'audit'] },
];

const words = process.argv.slice(2).map((word) => word.toLowerCase());
await runSteps(steps.filter(({ name }) => words.every((word) => name.toLowerCase().includes(word))));
