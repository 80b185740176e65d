/**
 * The words of messages and of queries, as they are searched for.
 *
 * Convex's search index compares words as they are written. To find other forms of a word, as the
 * embedded deployment does, what is indexed is not the text but its words, each brought to one
 * form: lower case, without diacritics, and stemmed.
 */
import { stem } from "./stemmer";

/** Words of a question that are looked at. */
const WORDS_MAX = 64;
/** Words that count: the rarest. */
export const TERMS_MAX = 16;
/** Convex takes 16 terms of a query and ignores the rest; one is spent on `LAST_TERM`. */
const SEARCHED_MAX = 15;
/** Convex leaves out words of more than 32 bytes; ours end there instead. */
const WORD_BYTES_MAX = 32;
/**
 * Convex takes the last term of a query for the beginning of a word. Nobody wrote this one, so
 * that every term in front of it is a whole word.
 */
export const LAST_TERM = "zzxqjkvwzzxq";
const KNOWN_MAX = 20_000;

/** English function words: they match everything and say nothing about it. */
const STOP_WORDS: ReadonlySet<string> = new Set(
  (
    "a about after again all also am an and any are as at be because been before being but by " +
    "can could did do does doing don for from had has have having he her here hers him his how i " +
    "if in into is it its just me more most my no nor not now of off on once only or other our " +
    "out over own s same she should so some such t than that the their them then there these " +
    "they this those through to too under until up us very was we were what when where which " +
    "while who whom why will with would you your " +
    "d ll m re ve ain aren couldn didn doesn hadn hasn haven isn shouldn wasn weren won wouldn"
  ).split(" "),
);

/**
 * Scripts without spaces between words, or with endings grown onto them: Thai and Lao, Burmese,
 * Khmer, kana, Chinese characters, Hangul. Every two characters that stand together are a word.
 */
const UNSPACED = new RegExp(
  "[\\u0e00-\\u0eff\\u1000-\\u109f\\u1780-\\u17ff\\u3005\\u3007\\u3040-\\u30ff\\u31f0-\\u31ff" +
    "\\u3400-\\u4dbf\\u4e00-\\u9fff\\uac00-\\ud7a3\\uf900-\\ufaff\\uff66-\\uff9f" +
    "\\u{20000}-\\u{3134f}]+",
  "gu",
);

/** A text as the search index holds it: its words, in the form in which they are compared. */
export function indexedText(text: string): string {
  const plain = folded(text).replace(
    UNSPACED,
    (run) => ` ${Array.from(run).concat(pairsOf(run)).join(" ")} `,
  );
  return wordsIn(plain).map(comparable).join(" ");
}

/**
 * The words of a query that say something, in lower case, each once.
 *
 * @param query What a person typed. Stop words count only when there is nothing else.
 */
export function tellingWords(query: string): string[] {
  const plain = folded(query).replace(UNSPACED, (run) => ` ${pairsOf(run).join(" ") || run} `);
  const words = [...new Set(wordsIn(plain))];
  const telling = words.filter((word) => !STOP_WORDS.has(word));
  return telling.length > 0 ? telling : words;
}

/** Words in the form in which they are compared, each once. */
export function comparableWords(words: readonly string[]): string[] {
  return [...new Set(words.slice(0, WORDS_MAX).map(comparable))];
}

/** Those of some words that Convex's text index is asked for: the longest, which are rarest. */
export function searchedTerms(words: readonly string[]): string[] {
  if (words.length <= SEARCHED_MAX) return [...words];
  return [...words].sort((left, right) => right.length - left.length).slice(0, SEARCHED_MAX);
}

/** Marks that make another letter of one: kana has ga where there is ka. */
const VOICINGS: ReadonlySet<string> = new Set(["\u3099", "\u309a"]);

/** A text in lower case and without marks: accents, vowel signs, tones. */
export function folded(text: string): string {
  const lower = text.toLowerCase();
  if (/^[\0-\x7f]*$/.test(lower)) return lower;
  return lower
    .normalize("NFD")
    .replace(/\p{M}/gu, (mark) => (VOICINGS.has(mark) ? mark : ""))
    .normalize("NFC");
}

function wordsIn(plain: string): string[] {
  return plain.match(/[\p{L}\p{N}]+/gu) ?? [];
}

function pairsOf(run: string): string[] {
  const characters = Array.from(run);
  return characters.slice(1).map((each, at) => `${characters[at] ?? ""}${each}`);
}

/** Words seen lately. A text says most of its words many times, and a mutation has one second. */
const known = new Map<string, string>();

function comparable(word: string): string {
  let form = known.get(word);
  if (form === undefined) {
    if (known.size >= KNOWN_MAX) known.clear();
    form = withinBytes(stem(word));
    known.set(word, form);
  }
  return form;
}

function withinBytes(word: string): string {
  // Four bytes for each unit at most, so short words need no look at their bytes.
  if (word.length <= WORD_BYTES_MAX / 4) return word;
  const bytes = new TextEncoder().encode(word);
  if (bytes.length <= WORD_BYTES_MAX) return word;
  let end = WORD_BYTES_MAX;
  // Never in the middle of a character: its later bytes begin with the bits 10.
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  return new TextDecoder().decode(bytes.subarray(0, end));
}
