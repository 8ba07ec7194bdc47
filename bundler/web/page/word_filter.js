// Hides words in what is shown. It knows words, not meanings.
export const USUAL_WORDS = ["arse", "ass", "asshole", "bastard", "bitch", "bollocks", "crap", "cunt", "damn", "dick", "fuck", "fucked", "fucking",
  "motherfucker", "piss", "prick", "shit", "shitty", "slut", "twat", "wanker", "whore"];

const WORD = /[\p{L}\p{M}\p{N}]+/gu;

export function wordsIn(text) {
  return new Set((text.match(WORD) ?? []).map((word) => word.toLowerCase()));
}

/** `text` with every word of `hidden` but its first letter dotted out. Unless it is `ended`, a word at its end is left off: it may go on. */
export function filtered(text, hidden, ended) {
  const shown = ended ? text : text.replace(/[\p{L}\p{M}\p{N}]+$/u, "");
  return shown.replace(WORD, (word) => (hidden.has(word.toLowerCase()) ? [...word][0] + "•".repeat([...word].length - 1) : word));
}
