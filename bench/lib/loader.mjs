// The dynamic loader of another C library, as a prefix of a peer's command.
import { existsSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The folder of `npm run bench:glibc`. */
export const GLIBC = new URL('../.glibc/', import.meta.url);

/** Returns the loader from `BENCH_LOADER` or of the downloaded library, or `null`. */
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
