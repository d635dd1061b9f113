// The C library that a peer may be run with instead of the system's: its dynamic loader, as a prefix of the command.
import { existsSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Where `npm run bench:glibc` puts it. */
export const GLIBC = new URL('../.glibc/', import.meta.url);

/** `BENCH_LOADER`, or what was fetched; null when there is neither. */
export function loader() {
  const { BENCH_LOADER: given } = process.env;
  if (given) return given.split(' ');
  const libraries = new URL('usr/lib/', GLIBC);
  const folder = existsSync(libraries) ? readdirSync(libraries).find((name) => name.endsWith('-linux-gnu')) : null;
  if (!folder) return null;
  const path = fileURLToPath(new URL(folder, libraries));
  const program = readdirSync(path).find((name) => /^ld-linux.*\.so\.\d+$/.test(name));
  return [`${path}/${program}`, '--library-path', path];
}
