/** Which characters are not printed as they are. */

/** Matches control, format and surrogate characters and line separators, but not the joiners, which words and emoji need. */
export const HIDDEN = /(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu;
