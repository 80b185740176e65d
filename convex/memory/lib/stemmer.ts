/**
 * The stem of an English word, by Porter's algorithm (1980), which the embedded deployment's
 * full-text search uses too: "sailing" and "sails" are both "sail".
 */

const VOWEL_GROUP = "[aeiouy][aeiou]*";
const CONSONANT_GROUP = "[^aeiou][^aeiouy]*";
/** At least one vowel and consonant sequence: measure > 0. */
const MEASURE_ABOVE_0 = new RegExp(`^(${CONSONANT_GROUP})?${VOWEL_GROUP}${CONSONANT_GROUP}`);
/** Exactly one: measure = 1. */
const MEASURE_IS_1 = new RegExp(
  `^(${CONSONANT_GROUP})?${VOWEL_GROUP}${CONSONANT_GROUP}(${VOWEL_GROUP})?$`,
);
/** Two or more: measure > 1. */
const MEASURE_ABOVE_1 = new RegExp(
  `^(${CONSONANT_GROUP})?${VOWEL_GROUP}${CONSONANT_GROUP}${VOWEL_GROUP}${CONSONANT_GROUP}`,
);
const HAS_VOWEL = new RegExp(`^(${CONSONANT_GROUP})?[aeiouy]`);
const ENDS_SHORT = new RegExp(`^${CONSONANT_GROUP}[aeiouy][^aeiouwxy]$`);

const STEP_2: readonly (readonly [string, string])[] = [
  ["ational", "ate"], ["tional", "tion"], ["enci", "ence"], ["anci", "ance"], ["izer", "ize"],
  ["bli", "ble"], ["alli", "al"], ["entli", "ent"], ["eli", "e"], ["ousli", "ous"],
  ["ization", "ize"], ["ation", "ate"], ["ator", "ate"], ["alism", "al"], ["iveness", "ive"],
  ["fulness", "ful"], ["ousness", "ous"], ["aliti", "al"], ["iviti", "ive"], ["biliti", "ble"],
  ["logi", "log"],
];
const STEP_3: readonly (readonly [string, string])[] = [
  ["icate", "ic"], ["ative", ""], ["alize", "al"], ["iciti", "ic"], ["ical", "ic"], ["ful", ""],
  ["ness", ""],
];
const STEP_4: readonly string[] = [
  "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou",
  "ism", "ate", "iti", "ous", "ive", "ize",
];

/**
 * The stem of a word.
 *
 * @param word In lower case. Words with anything but `a` to `z` are their own stems.
 */
export function stem(word: string): string {
  if (word.length < 3 || !/^[a-z]+$/.test(word)) return word;
  let stemmed = step1a(marked(word));
  stemmed = step1c(step1b(stemmed));
  stemmed = replaced(stemmed, STEP_2);
  stemmed = replaced(stemmed, STEP_3);
  return step5(step4(stemmed)).toLowerCase();
}

/** A `y` that begins the word is a consonant; in capitals no pattern takes it for a vowel. */
function marked(word: string): string {
  return word.startsWith("y") ? `Y${word.slice(1)}` : word;
}

function step1a(word: string): string {
  if (/(ss|i)es$/.test(word)) return word.slice(0, -2);
  return /[^s]s$/.test(word) ? word.slice(0, -1) : word;
}

function step1b(word: string): string {
  if (word.endsWith("eed")) {
    return MEASURE_ABOVE_0.test(word.slice(0, -3)) ? word.slice(0, -1) : word;
  }
  const [, start] = /^(.+?)(ed|ing)$/.exec(word) ?? [];
  if (start === undefined || !HAS_VOWEL.test(start)) return word;
  if (/(at|bl|iz)$/.test(start)) return `${start}e`;
  if (/([^aeiouylsz])\1$/.test(start)) return start.slice(0, -1);
  return ENDS_SHORT.test(start) ? `${start}e` : start;
}

function step1c(word: string): string {
  const start = word.slice(0, -1);
  return word.endsWith("y") && HAS_VOWEL.test(start) ? `${start}i` : word;
}

function replaced(word: string, suffixes: readonly (readonly [string, string])[]): string {
  const found = longest(
    word,
    suffixes.map(([suffix]) => suffix),
  );
  const by = suffixes.find(([suffix]) => suffix === found)?.[1];
  if (found === undefined || by === undefined) return word;
  const start = word.slice(0, word.length - found.length);
  return MEASURE_ABOVE_0.test(start) ? `${start}${by}` : word;
}

function step4(word: string): string {
  const found = longest(word, STEP_4);
  if (found === undefined) return word;
  const start = word.slice(0, word.length - found.length);
  if (found === "ion" && !/[st]$/.test(start)) return word;
  return MEASURE_ABOVE_1.test(start) ? start : word;
}

function step5(word: string): string {
  let stemmed = word;
  const start = word.slice(0, -1);
  const drops =
    MEASURE_ABOVE_1.test(start) || (MEASURE_IS_1.test(start) && !ENDS_SHORT.test(start));
  if (word.endsWith("e") && drops) stemmed = start;
  return stemmed.endsWith("ll") && MEASURE_ABOVE_1.test(stemmed) ? stemmed.slice(0, -1) : stemmed;
}

function longest(word: string, suffixes: readonly string[]): string | undefined {
  return suffixes
    .filter((suffix) => word.endsWith(suffix))
    .sort((left, right) => right.length - left.length)[0];
}
