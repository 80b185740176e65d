/**
 * Best match first: BM25 over the messages that a search found.
 *
 * Convex returns matches best first but says no score, and its ranking cannot be filtered
 * afterwards without holes. So what it returns are candidates, and they are scored here, as the
 * embedded deployment's full-text index does it, with the candidates for the whole collection.
 */

/** How soon more of the same word stops counting. */
const SATURATION = 1.2;
/** How much a long text's words count less. */
const LENGTH_WEIGHT = 0.75;

/** A candidate and how well it matches: higher is better. */
export type Scored<Candidate> = { readonly candidate: Candidate; readonly score: number };

/**
 * Score candidates.
 *
 * @param candidates What a search found; `text` in the form in which words are compared.
 * @param terms What was searched for, in that form.
 * @returns Those that hold one of the terms as a whole word, best first, equal ones newest first.
 */
export function ranked<Candidate extends { text: string; _creationTime: number }>(
  candidates: readonly Candidate[],
  terms: readonly string[],
): Scored<Candidate>[] {
  const found = candidates
    .map((candidate) => ({ candidate, ...occurrences(candidate.text, terms) }))
    .filter(({ counts }) => counts.some((count) => count > 0));
  const words = found.reduce((sum, { length }) => sum + length, 0);
  const averageLength = Math.max(1, words / Math.max(1, found.length));
  const weights = terms.map((_, at) => {
    const holding = found.filter(({ counts }) => (counts[at] ?? 0) > 0).length;
    return Math.log(1 + (found.length - holding + 0.5) / (holding + 0.5));
  });
  const scored = found.map(({ candidate, counts, length }) => {
    const fullness = 1 - LENGTH_WEIGHT + LENGTH_WEIGHT * (length / averageLength);
    const score = counts.reduce((sum, count, at) => {
      const frequency = (count * (SATURATION + 1)) / (count + SATURATION * fullness);
      return sum + (weights[at] ?? 0) * frequency;
    }, 0);
    return { candidate, score };
  });
  return scored.sort(
    (left, right) =>
      right.score - left.score || right.candidate._creationTime - left.candidate._creationTime,
  );
}

function occurrences(text: string, terms: readonly string[]) {
  const counts = terms.map(() => 0);
  const places = new Map(terms.map((term, at) => [term, at]));
  const words = text.split(" ");
  for (const word of words) {
    const at = places.get(word);
    if (at !== undefined) counts[at] = (counts[at] ?? 0) + 1;
  }
  return { counts, length: words.length };
}
