// Indexes of a run, for the domains of ConvexVector.
import { openVector } from './adapters.mjs';

/** The adapter, and `fresh(label, items, dimension)`: a new index that is removed at the end. */
export function openIndexes({ connection, namespace, tidy }) {
  const vector = openVector(connection);
  const fresh = async (label, items = [], dimension = 2) => {
    const indexName = `${namespace}_${label}`;
    tidy(() => vector.deleteIndex({ indexName }));
    await vector.createIndex({ indexName, dimension });
    if (items.length > 0) await upsert(vector, indexName, items);
    return indexName;
  };
  return { vector, fresh };
}

/** Upsert `[id, vector, metadata]` items. */
export async function upsert(vector, indexName, items) {
  return await vector.upsert({
    indexName,
    ids: items.map(([id]) => id),
    vectors: items.map(([, values]) => values),
    metadata: items.map(([, , metadata]) => metadata),
  });
}

/** Every stored item by id: `{id: [vector, metadata]}`. */
export async function contents(vector, indexName, dimension = 2) {
  const queryVector = Array(dimension).fill(1);
  const found = await vector.query({ indexName, queryVector, topK: 100_000, includeVector: true });
  return Object.fromEntries(found.map((hit) => [hit.id, [hit.vector, hit.metadata]]));
}
