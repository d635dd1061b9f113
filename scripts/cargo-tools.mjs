// Programs that cargo runs and that are installed for this repository alone, when they are wanted first.
import { existsSync, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { capture, root, seconds } from './process.mjs';
import { addRustToPath } from './rust.mjs';

const folder = join(root, 'target', 'tools');

/** Puts `name` where cargo finds it, as `cargo-fuzz` for `cargo fuzz`. */
export async function needTool(name) {
  addRustToPath();
  process.env.PATH = join(folder, 'bin') + delimiter + process.env.PATH;
  const program = process.platform === 'win32' ? `${name}.exe` : name;
  if (process.env.PATH.split(delimiter).some((place) => existsSync(join(place, program)))) return;
  const started = performance.now();
  process.stdout.write(`Installing ${name} into target/tools (a minute or more) ... `);
  await capture('cargo', ['install', '--locked', '--root', folder, name]);
  process.stdout.write(`${seconds(started)}\n`);
}

/** Of the compiler that these arguments choose: for what machine it compiles, with which LLVM, and where its libraries are. */
export async function compiler(choice = [], env = {}) {
  const ask = (...questions) => capture('rustc', [...choice, ...questions], { env: { ...process.env, ...env } });
  const shown = await ask('-vV');
  const [, host] = /^host: (.*)$/m.exec(shown);
  const [, llvm] = /^LLVM version: (\d+)/m.exec(shown);
  return { llvm, libraries: join((await ask('--print', 'sysroot')).trim(), 'lib', 'rustlib', host) };
}

/** Whether a compiler brings the runtime of a sanitizer, as `asan`, to its libraries. */
export function hasSanitizer(libraries, name) {
  return readdirSync(join(libraries, 'lib')).some((file) => file.includes(`_rt.${name}.`));
}
