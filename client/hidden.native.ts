/** Stands in for `hidden` in the bundles for bundlers: engines of React Native may lack `\p{…}`. See scripts/compile.mjs. */

/** Matches what `hidden` matches or, in an engine without `\p{…}`, everything outside ASCII too. */
export const HIDDEN = hidden();

function hidden(): RegExp {
  try {
    // Not a literal: it would keep an engine that does not know `\p{…}` from loading the script.
    return new RegExp('(?![\\u200c\\u200d])[\\p{Cc}\\p{Cf}\\p{Cs}\\u2028\\u2029]', 'gu');
  } catch {
    return /[^ -~]/gu;
  }
}
