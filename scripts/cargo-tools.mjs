// Cargo subcommands, installed into target/tools on first use, and properties of the compiler.
import { existsSync, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { capture, root, seconds } from './process.mjs';
import { addRustToPath } from './rust.mjs';

const folder = join(root, 'target', 'tools');

/** Installs a program such as `cargo-fuzz`, unless it is installed, and adds it to the PATH. */
export async function installTool(name) {
  addRustToPath();
  process.env.PATH = join(folder, 'bin') + delimiter + process.env.PATH;
  const program = process.platform === 'win32' ? `${name}.exe` : name;
  if (process.env.PATH.split(delimiter).some((place) => existsSync(join(place, program)))) return;
  const started = performance.now();
  process.stdout.write(`Installing ${name} into target/tools (a minute or more) ... `);
  await capture('cargo', ['install', '--locked', '--root', folder, name]);
  process.stdout.write(`${seconds(started)}\n`);
}

/** Returns the LLVM version of a compiler and the folder of its libraries. @param choice arguments such as `+nightly` */
export async function compiler(choice = [], env = {}) {
  const ask = (...questions) => capture('rustc', [...choice, ...questions], { env: { ...process.env, ...env } });
  const shown = await ask('-vV');
  const [, host] = /^host: (.*)$/m.exec(shown);
  const [, llvm] = /^LLVM version: (\d+)/m.exec(shown);
  return { llvm, libraries: join((await ask('--print', 'sysroot')).trim(), 'lib', 'rustlib', host) };
}

/** Whether a compiler's libraries include the runtime of a sanitizer, such as `asan`. */
export function hasSanitizer(libraries, name) {
  return readdirSync(join(libraries, 'lib')).some((file) => file.includes(`_rt.${name}.`));
}
