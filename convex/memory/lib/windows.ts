/**
 * Ranking the messages of conversations by words: a message is found by what surrounds it, too.
 *
 * In a conversation the words of a question often stand beside its answer. So a word counts for
 * the messages around the one that holds it, less with every step:
 *
 *     score(m) = Σ over words  idf(word) · √( Σ over holders n near m  weight(m - n)² )
 *
 * where holders are the messages that hold the word, with weight 1 for the message itself,
 * `BEFORE ** k` for one k messages earlier and `AFTER ** k` for one k later; `ANSWER` times as much
 * where the message just before it asks something. The formula and its constants are those of
 * `convex_memory/windows.py`.
 */

const BEFORE = 0.75;
const AFTER = 0.55;
const REACH_BEFORE = 4;
const REACH_AFTER = 3;
const ANSWER = 1.4;
/** How much more a message counts whose speaker the question names. */
export const SPEAKER = 0.15;
/** What a date that the question names counts, in units of its idf. */
export const DATE = 1.5;
/** How long, and how much, what was said after a named day or month still counts as of it. */
export const LATE_DAYS = 14;
export const LATE_SHARE = 0.5;
/** Messages on either side of one that holds a word, which say how its neighbours score. */
export const REACH = REACH_BEFORE + REACH_AFTER;

/** What a message is to its neighbours; one that is `undefined` is not known. */
export interface Neighbour {
  readonly before: Neighbour | null | undefined;
  readonly after: Neighbour | null | undefined;
  /** Whether it ends with a question. */
  readonly asks: boolean;
  /** Whether it holds a word. */
  holds(word: number): boolean;
}

/** What a word counts that so many of the messages hold (BM25's idf, never negative). */
export function rarity(holding: number, messages: number): number {
  return Math.log(1 + (messages - holding + 0.5) / (holding + 0.5));
}

/** The score of a message: what each word counts that it or its neighbours hold. */
export function windowScore(message: Neighbour, weights: readonly number[]): number {
  const near = weights.map((_, word): number => (message.holds(word) ? 1 : 0));
  const add = (neighbour: Neighbour, weight: number) => {
    near.forEach((_, word) => {
      if (neighbour.holds(word)) near[word] = (near[word] ?? 0) + weight ** 2;
    });
  };
  let earlier = message.before;
  for (let step = 1; step <= REACH_BEFORE && earlier; step += 1) {
    const answers = step === 1 && earlier.asks ? ANSWER : 1;
    add(earlier, BEFORE ** step * answers);
    earlier = earlier.before;
  }
  let later = message.after;
  for (let step = 1; step <= REACH_AFTER && later; step += 1) {
    add(later, AFTER ** step);
    later = later.after;
  }
  return weights.reduce((sum, weight, word) => sum + weight * Math.sqrt(near[word] ?? 0), 0);
}
