// The messages of the harness. Each text can be generated again from its page and number, so that any change is detected.
import { Random } from './random.mjs';

const SMALL = [0, 300];
const LARGE = [10_000, 100_000];
const HUGE = 500_000;

/** Mostly ASCII, with some characters that JSON escapes or UTF-8 encodes in several bytes. */
const TEXT = makeText(HUGE + 10_000);

/** Returns the `n`th message of a page. It starts with both numbers. */
export function compose(page, n) {
  const random = new Random(`${page} ${n}`);
  const start = random.between(0, 9_999);
  return `${page} ${n} ${TEXT.slice(start, start + size(random))}`;
}

/** Returns the page and number of a text, or `null` if it differs from what was sent. */
export function recognize(text) {
  const [page, n] = text.slice(0, 40).split(' ', 2);
  return compose(page, n) === text ? { page, n: Number(n) } : null;
}

function size(random) {
  const kind = random.next();
  if (kind < 0.0003) return HUGE;
  return random.between(...(kind < 0.01 ? LARGE : SMALL));
}

function makeText(length) {
  const random = new Random('text');
  const odd = ['"', '\\', '\n', '\0', 'é', '漢', '😀', '\u2028', '\ud800', '</script>'];
  let text = '';
  while (text.length < length) text += random.chance(0.05) ? random.pick(odd) : String.fromCharCode(random.between(32, 126));
  return text;
}
