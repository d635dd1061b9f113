// Finds a Chromium for the browser tests: from an environment variable, installed, or from an npm package.
import { accessSync, constants, existsSync, mkdtempSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { Problem, root } from './process.mjs';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];

const ARGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
];

/** Returns the options for playwright's `chromium.launch()`. */
export async function chromiumOptions() {
  const installed = installedChromium();
  return { args: ARGS, ...(installed ? { executablePath: installed } : await bundledChromium()) };
}

export function installedChromium() {
  const { CHROME_PATH, CHROMIUM_PATH, PATH } = process.env;
  const named = CHROME_PATH || CHROMIUM_PATH;
  if (named && !isExecutable(named)) throw new Problem(`CHROME_PATH or CHROMIUM_PATH names ${named}, which is not an executable.`);
  return named || PATH.split(delimiter).flatMap((folder) => NAMES.map((name) => join(folder, name))).find(isExecutable);
}

/** Whether `chromiumOptions()` would first unpack the npm package. */
export function needsUnpacking() {
  return !installedChromium() && !existsSync(bundledFolder());
}

/** Returns the Chromium of @sparticuz/chromium, unpacked once, with the libraries and fonts that a bare machine lacks. */
async function bundledChromium() {
  const folder = bundledFolder();
  if (!existsSync(folder)) await unpack(folder);
  return {
    executablePath: join(folder, 'chromium'),
    env: { ...process.env, LD_LIBRARY_PATH: join(folder, 'al2023/lib'), FONTCONFIG_FILE: join(folder, 'fonts.conf') },
  };
}

function bundledFolder() {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new Problem('The browser tests need Chromium or Chrome: install one, or set CHROME_PATH.');
  }
  const { version } = JSON.parse(readFileSync(join(root, 'node_modules/@sparticuz/chromium/package.json'), 'utf8'));
  return join(root, `node_modules/.cache/chromium-${version}`);
}

async function unpack(folder) {
  mkdirSync(dirname(folder), { recursive: true });
  const temporary = mkdtempSync(`${folder}-`);
  const { TMPDIR, AWS_EXECUTION_ENV } = process.env;
  try {
    const { default: chromium } = await import('@sparticuz/chromium');
    // By default it unpacks into the system's temporary folder, and its libraries only on AWS Lambda.
    Object.assign(process.env, { TMPDIR: temporary, AWS_EXECUTION_ENV: 'nodejs20.x' });
    await chromium.executablePath();
    writeFileSync(
      join(temporary, 'fonts.conf'),
      `<fontconfig><dir>/usr/share/fonts</dir><dir>${folder}/fonts</dir><cachedir>${folder}/fonts-cache</cachedir></fontconfig>\n`,
    );
    // Atomically: an interrupted unpacking must not be taken for a browser.
    renameSync(temporary, folder);
  } finally {
    restore({ TMPDIR, AWS_EXECUTION_ENV });
    rmSync(temporary, { recursive: true, force: true });
  }
}

function restore(variables) {
  for (const [name, value] of Object.entries(variables)) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
}

export function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
