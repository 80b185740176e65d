/** Cosine similarity as Convex's vector search has it: in float32. */

/**
 * How similar vectors are to one.
 *
 * @param query The one.
 * @returns A score in [-1, 1] for a vector of its length; -1 when one of the two has no direction.
 */
export function cosineTo(query: readonly number[]): (vector: readonly number[]) => number {
  const target = unit(query);
  return (vector) => {
    const other = unit(vector);
    if (target === undefined || other === undefined) return -1;
    return Math.fround(other.reduce((sum, each, at) => sum + each * (target[at] ?? 0), 0));
  };
}

function unit(vector: readonly number[]): number[] | undefined {
  const largest = vector.reduce((most, each) => Math.max(most, Math.abs(each)), 0);
  if (largest === 0) return undefined;
  // Scaled by the largest coordinate, so that no square overflows or vanishes.
  const scaled = vector.map((each) => each / largest);
  const norm = Math.sqrt(scaled.reduce((sum, each) => sum + each * each, 0));
  return scaled.map((each) => each / norm);
}
