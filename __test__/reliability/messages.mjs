// What the harness sends: each text can be made again from who sent it and its number, so that any change shows.
import { Random } from './random.mjs';

const SMALL = [0, 300];
const LARGE = [10_000, 100_000];
const HUGE = 500_000;

/** Mostly ASCII, in places what JSON or UTF-8 writes in other ways. */
const TEXT = makeText(HUGE + 10_000);

/** The `n`th message of a page. It starts with both, so that a message can be told whatever has become of it. */
export function compose(page, n) {
  const random = new Random(`${page} ${n}`);
  const start = random.between(0, 9_999);
  return `${page} ${n} ${TEXT.slice(start, start + size(random))}`;
}

/** The page and the number that a text starts with; null if it is not, to the last character, what was sent. */
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
