// Finds the Rust toolchain, and says what to do if it is missing or too old.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { Problem, root } from './process.mjs';

/** Returns what is wrong with the toolchain, or `null`. @param found the output of `rustc --version`, if any */
export function rustProblem(found, needed) {
  const get = 'get it from https://rustup.rs/ (or run "rustup update stable").';
  if (!found) return `websocket-relay needs Rust ${needed} or newer, but cargo or rustc was not found: ${get}`;
  const version = /\d+\.\d+\.\d+/.exec(found)?.[0] ?? found.trim();
  if (version.localeCompare(needed, 'en', { numeric: true }) >= 0) return null;
  return `websocket-relay needs Rust ${needed} or newer, and this is Rust ${version}: ${get}`;
}

/** Adds cargo to the PATH, where a fresh rustup is not yet. */
export function addRustToPath() {
  process.env.PATH += delimiter + join(process.env.CARGO_HOME ?? join(homedir(), '.cargo'), 'bin');
}

export function checkRust() {
  addRustToPath();
  const manifest = readFileSync(join(root, 'Cargo.toml'), 'utf8');
  const needed = /^rust-version\s*=\s*"([\d.]+)"/m.exec(manifest)[1];
  const problem = rustProblem(version('cargo') && version('rustc'), needed);
  if (problem) throw new Problem(problem);
}

function version(program) {
  try {
    return execFileSync(program, ['--version'], { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  } catch {
    return null;
  }
}
