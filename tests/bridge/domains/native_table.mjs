// One native index, on a table that is shared with other runs.
//
// A deployment whose tables are fixed by a schema needs the table of ../mastra_reference/schema.ts.
// Every run points its vectors in a direction of its own: in 32 dimensions, what another run left
// behind is nearly at right angles to it and never comes before its vectors. Only the counts are
// of the whole table, so two runs at the same time on one deployment disturb each other there.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { assertNear } from '../harness.mjs';
import { openNativeVector } from './adapters.mjs';

export const DIMENSION = 32;
export const INDEX = {
  tableName: 'cross_client_vectors',
  vectorIndexName: 'by_embedding',
  dimension: DIMENSION,
  filterFields: ['category', 'rank', 'active'],
};
export const indexName = 'docs';

/** The adapter with the index, the run's own plane of vectors, and short forms of calls. */
export function openTable({ connection, namespace, tidy }) {
  const vector = openNativeVector(connection, { [indexName]: INDEX });
  const plane = planeOf(namespace);
  const written = new Set();
  const upsert = async ({ ids, ...rest }) => {
    for (const id of ids) written.add(id);
    return await vector.upsert({ indexName, ids, ...rest });
  };
  tidy(async () => {
    if (written.size > 0) await vector.deleteVectors({ indexName, ids: [...written] });
  });
  const id = (label) => `${namespace}_${label}`;
  const count = async () => (await vector.describeIndex({ indexName })).count;
  /** The vectors that this run wrote, by their distance from a point of the plane, nearest first. */
  const near = async (angle, rest = {}) => {
    const found = await vector.query({ indexName, queryVector: plane(angle), topK: 256, ...rest });
    return found.filter((hit) => written.has(hit.id));
  };
  return { vector, plane, upsert, id, count, near };
}

/** Unit vectors in a plane that the seed chooses: the cosine of two is that of their angles. */
function planeOf(seed) {
  const [first, second] = ['first', 'second'].map((part) => {
    const bytes = createHash('sha256').update(`${seed} ${part}`).digest();
    return [...bytes].map((byte) => byte - 127.5);
  });
  const dot = (a, b) => a.reduce((sum, value, index) => sum + value * b[index], 0);
  const unit = (values) => values.map((value) => value / Math.sqrt(dot(values, values)));
  const x = unit(first);
  const along = dot(second, x);
  const y = unit(second.map((value, index) => value - along * x[index]));
  return (angle) => x.map((value, index) => value * Math.cos(angle) + y[index] * Math.sin(angle));
}

export const idsOf = (hits) => hits.map((hit) => hit.id);

export function assertVectorNear(actual, expected) {
  assert.equal(actual.length, expected.length);
  for (const [index, value] of actual.entries()) assertNear(value, expected[index], 1e-6);
}
