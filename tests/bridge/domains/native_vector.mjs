// ConvexNativeVector, on a table that is shared with other runs.
//
// A deployment whose tables are fixed by a schema needs the table of ../mastra_reference/schema.ts.
// Every run points its vectors in a direction of its own: in 32 dimensions, what another run left
// behind is nearly at right angles to it and never comes before its vectors. Only the counts are
// of the whole table, so two runs at the same time on one deployment disturb each other there.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { assertNear, failure, outcome, range } from '../harness.mjs';
import { openNativeVector } from './adapters.mjs';

export const name = 'native vector';

const DIMENSION = 32;
const COUNT = 250;
const STEP = 0.002;
const INDEX = {
  tableName: 'cross_client_vectors',
  vectorIndexName: 'by_embedding',
  dimension: DIMENSION,
  filterFields: ['category', 'rank', 'active'],
};
const indexName = 'docs';

export async function run({ connection, namespace, check, tidy }) {
  const vector = openNativeVector(connection, { [indexName]: INDEX });
  const plane = planeOf(namespace);
  const written = new Set();
  const upsert = async ({ ids, ...rest }) => {
    for (const id of ids) written.add(id);
    return await vector.upsert({ indexName, ids, ...rest });
  };
  tidy(async () => {
    const ids = [...written];
    for (let start = 0; start < ids.length; start += 100) {
      await vector.deleteVectors({ indexName, ids: ids.slice(start, start + 100) });
    }
  });
  const id = (label) => `${namespace}_${label}`;
  const count = async () => (await vector.describeIndex({ indexName })).count;
  /** The vectors at one point of the plane, best first, that this run wrote. */
  const near = async (angle, rest = {}) => {
    const found = await vector.query({ indexName, queryVector: plane(angle), topK: 256, ...rest });
    return found.filter((hit) => written.has(hit.id));
  };
  const context = { vector, check, plane, upsert, id, count, near, namespace };
  await indexes(context);
  await refusedUpserts(context);
  await manyVectors(context);
  await refusedQueries(context);
  await filters(context);
  await updating(context);
  await replacing(context);
  await deleting(context);
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

const idsOf = (hits) => hits.map((hit) => hit.id);

function assertVectorNear(actual, expected) {
  assert.equal(actual.length, expected.length);
  for (const [index, value] of actual.entries()) assertNear(value, expected[index], 1e-6);
}

async function indexes({ vector, check, count }) {
  await check('the indexes are those of the configuration', async () => {
    assert.deepEqual(await vector.listIndexes(), [indexName]);
  });

  await check('creating an index checks it against the configuration', async () => {
    assert.equal(await vector.createIndex({ indexName, dimension: DIMENSION }), undefined);
    const other = vector.createIndex({ indexName, dimension: 8 });
    await failure(other, `has ${DIMENSION} dimensions, but 8 were requested`);
    const metric = vector.createIndex({ indexName, dimension: DIMENSION, metric: 'euclidean' });
    await failure(metric, 'currently supports cosine only');
  });

  await check('an index is described with its dimension, metric and count', async () => {
    const { dimension, metric } = await vector.describeIndex({ indexName });
    assert.deepEqual([dimension, metric], [DIMENSION, 'cosine']);
    assert.equal(Number.isInteger(await count()), true);
  });

  await check('an index that is not configured is refused by name in every call', async () => {
    const unknown = { indexName: 'unknown' };
    const text = 'ConvexNativeVector: index "unknown" is not configured';
    const queryVector = Array(DIMENSION).fill(1);
    await failure(vector.query({ ...unknown, queryVector }), text);
    await failure(vector.upsert({ ...unknown, vectors: [queryVector], ids: ['a'] }), text);
    await failure(vector.describeIndex(unknown), text);
    await failure(vector.deleteVector({ ...unknown, id: 'a' }), text);
    await failure(vector.updateVector({ ...unknown, id: 'a', update: { metadata: {} } }), text);
  });

  await check('an index cannot be deleted', async () => {
    await failure(vector.deleteIndex({ indexName }), 'managed in convex/schema.ts');
  });
}

async function refusedUpserts({ vector, check, plane, id, count }) {
  await check('an upsert whose parts do not fit together is refused and writes nothing', async () => {
    const before = await count();
    const vectors = [plane(0), plane(1)];
    const ids = [id('refused1'), id('refused2')];
    const attempt = (rest) => failure(vector.upsert({ indexName, vectors, ids, ...rest }));
    const refusals = [
      await attempt({ ids: ids.slice(1) }),
      await attempt({ metadata: [{}] }),
      await attempt({ metadata: [{}, 'text'] }),
      await attempt({ ids: [ids[0], ids[0]] }),
      await attempt({ deleteFilter: { rank: 1 } }),
    ];
    for (const { message } of refusals) assert.match(message, /^ConvexNativeVector\.upsert: /);
    assert.equal(await count(), before);
  });
}

async function manyVectors({ vector, check, plane, upsert, id, count, near }) {
  const label = (n) => id(`m${String(n).padStart(3, '0')}`);
  const start = -0.2;
  const before = await count();

  await check(`${COUNT} vectors are stored in one upsert`, async () => {
    const numbers = range(0, COUNT);
    const ids = numbers.map(label);
    const answered = await upsert({
      ids,
      vectors: numbers.map((n) => plane(n * STEP)),
      metadata: numbers.map((n) => ({ n, category: id(`part${n % 5}`), nested: { list: [n, null] } })),
    });
    assert.deepEqual(answered, ids);
    assert.equal((await count()) - before, COUNT);
  });

  await check('a query finds the 10 nearest, best first, with cosine scores', async () => {
    const hits = await vector.query({ indexName, queryVector: plane(start) });
    assert.deepEqual(idsOf(hits), range(0, 10).map(label));
    for (const [n, { score }] of hits.entries()) assertNear(score, Math.cos(n * STEP - start));
    assert.deepEqual(hits[3].metadata, { n: 3, category: id('part3'), nested: { list: [3, null] } });
    assert.equal(hits[3].vector, undefined);
  });

  await check('a query finds up to 256', async () => {
    const hits = await near(start);
    assert.deepEqual(idsOf(hits), range(0, COUNT).map(label));
    assert.equal((await vector.query({ indexName, queryVector: plane(0), topK: 1 })).length, 1);
  });

  await check('vectors come along when asked for', async () => {
    const [hit] = await near(start, { topK: 1, includeVector: true });
    assert.equal(hit.id, label(0));
    assertVectorNear(hit.vector, plane(0));
  });

  await check('the length of the query vector does not change the scores', async () => {
    const queryVector = plane(start).map((value) => value * 1000);
    const hits = await vector.query({ indexName, queryVector, topK: 5 });
    for (const [n, { score }] of hits.entries()) assertNear(score, Math.cos(n * STEP - start));
  });

  await check('a filter looks at every vector before topK cuts', async () => {
    const filter = { category: id('part4') };
    const hits = await near(start, { topK: 30, filter });
    assert.deepEqual(hits.map(({ metadata }) => metadata.n), range(0, 30).map((n) => 5 * n + 4));
    assert.equal((await near(start, { filter })).length, COUNT / 5);
  });

  await check('any number of ids are deleted in one call', async () => {
    await vector.deleteVectors({ indexName, ids: range(0, COUNT).map(label) });
    assert.deepEqual(await near(start), []);
    assert.equal(await count(), before);
  });
}

async function refusedQueries({ vector, check, plane }) {
  const query = (rest) => vector.query({ indexName, queryVector: plane(0), ...rest });

  await check('topK is a whole number from 1 to 256', async () => {
    for (const topK of [257, 0, -1, 1.5]) {
      const error = await failure(query({ topK }));
      assert.ok(error.message.includes('256'), error.message);
    }
  });

  await check('a query without a vector is refused with an id', async () => {
    const error = await failure(query({ queryVector: undefined }));
    assert.equal(error.id, 'MASTRA_VECTOR_CONVEX_NATIVE_QUERY_MISSING_VECTOR');
  });

  await check('a filter on a field that is not configured is refused by name', async () => {
    const text = 'field "colour" is not configured as a Convex vector filter field';
    await failure(query({ filter: { colour: 'red' } }), text);
  });

  await check('a filter holds one field', async () => {
    const filter = { category: 'x', rank: 1 };
    await failure(query({ filter }), 'native Convex filters support one equality field');
  });
}

async function filters({ check, plane, upsert, id, near }) {
  const mine = id('group');
  const rank = 1 + Number.parseInt(createHash('sha256').update(mine).digest('hex').slice(0, 8), 16);
  const rows = [
    ['f0', { category: mine, rank, active: true }],
    ['f1', { category: mine, rank: rank + 0.5, active: false }],
    ['f2', { category: `${mine}2`, rank, active: false }],
    ['f3', { category: null }],
    ['f4', { colour: 'red' }],
  ];
  await upsert({
    ids: rows.map(([label]) => id(label)),
    vectors: rows.map((_, n) => plane(n * STEP)),
    metadata: rows.map(([, metadata]) => metadata),
  });
  const labels = async (filter) => {
    const hits = await near(-0.2, { filter });
    return hits.map((hit) => hit.id.slice(-2)).join(' ');
  };

  await check('without a filter, or with an empty one, everything is searched', async () => {
    assert.equal(await labels(undefined), 'f0 f1 f2 f3 f4');
    assert.equal(await labels({}), 'f0 f1 f2 f3 f4');
  });

  await check('a filter compares text, numbers and booleans exactly', async () => {
    assert.equal(await labels({ category: mine }), 'f0 f1');
    assert.equal(await labels({ rank }), 'f0 f2');
    assert.equal(await labels({ rank: rank + 0.5 }), 'f1');
    assert.equal(await labels({ active: false }), 'f1 f2');
    assert.equal(await labels({ category: `${mine}3` }), '');
    assert.equal(await labels({ rank: String(rank) }), '');
  });

  await check('a filter may be written with $eq or under metadata', async () => {
    assert.equal(await labels({ category: { $eq: mine } }), 'f0 f1');
    assert.equal(await labels({ metadata: { category: mine } }), 'f0 f1');
  });

  await check('a filter for null finds null and not what is missing', async () => {
    assert.equal(await labels({ category: null }), 'f3');
  });

  await check('a filter with $or finds what any branch matches, or is refused as reserved', async () => {
    const filter = { $or: [{ category: `${mine}2` }, { rank: rank + 0.5 }, { category: null }] };
    const { value, refusal } = await outcome(labels(filter));
    if (refusal) assert.match(refusal, /\$or.*reserved/);
    else assert.equal(value, 'f1 f2 f3');
  });
}

async function updating({ vector, check, plane, upsert, id, near }) {
  const target = id('updated');
  const [old, fresh] = [id('old'), id('fresh')];
  const update = async (change) => await vector.updateVector({ indexName, id: target, update: change });
  await upsert({
    ids: [target],
    vectors: [plane(2)],
    metadata: [{ category: old, rank: 1, kept: { a: 1 } }],
  });

  await check('an update merges metadata one level deep and keeps the vector', async () => {
    await update({ metadata: { category: fresh, added: null } });
    const [hit] = await near(2, { topK: 1, includeVector: true });
    assert.equal(hit.id, target);
    assert.deepEqual(hit.metadata, { category: fresh, rank: 1, kept: { a: 1 }, added: null });
    assertVectorNear(hit.vector, plane(2));
  });

  await check('filters follow an update of the metadata', async () => {
    assert.deepEqual(await near(2, { filter: { category: old } }), []);
    assert.deepEqual(idsOf(await near(2, { filter: { category: fresh } })), [target]);
  });

  await check('an update replaces the vector and keeps the metadata', async () => {
    await update({ vector: plane(2.5) });
    const [hit] = await near(2.5, { filter: { category: fresh } });
    assertNear(hit.score, 1);
    assert.deepEqual(hit.metadata, { category: fresh, rank: 1, kept: { a: 1 }, added: null });
  });

  await check('updating an id that does not exist changes nothing', async () => {
    const absent = id('absent');
    await vector.updateVector({ indexName, id: absent, update: { metadata: { category: absent } } });
    assert.deepEqual(await near(2, { filter: { category: absent } }), []);
  });

  await check('an update by filter, or with metadata that is no object, is refused', async () => {
    const byFilter = { indexName, filter: { category: fresh }, update: { metadata: {} } };
    await failure(vector.updateVector(byFilter), 'ConvexNativeVector.updateVector');
    await failure(update({ metadata: 'text' }), 'ConvexNativeVector.updateVector');
  });
}

async function replacing({ check, plane, upsert, id, near }) {
  const target = id('replaced');
  const [one, two] = [id('one'), id('two')];
  const found = async (category) => await near(-2, { filter: { category } });

  await check('upserting an id again without metadata keeps the metadata', async () => {
    await upsert({ ids: [target], vectors: [plane(-1)], metadata: [{ category: one, extra: 1 }] });
    await upsert({ ids: [target], vectors: [plane(-2)] });
    const [hit] = await found(one);
    assertNear(hit.score, 1);
    assert.deepEqual(hit.metadata, { category: one, extra: 1 });
  });

  await check('upserting an id again with metadata replaces all of it', async () => {
    await upsert({ ids: [target], vectors: [plane(-2)], metadata: [{ category: two }] });
    assert.deepEqual(await found(one), []);
    const hits = await found(two);
    assert.deepEqual(hits.map(({ metadata }) => metadata), [{ category: two }]);
  });

  await check('a filter field that the new metadata lacks is gone', async () => {
    await upsert({ ids: [target], vectors: [plane(-2)], metadata: [{ other: true }] });
    assert.deepEqual(await found(two), []);
    const [hit] = await near(-2, { topK: 1 });
    assert.deepEqual([hit.id, hit.metadata], [target, { other: true }]);
  });
}

async function deleting({ vector, check, plane, upsert, id, count, near }) {
  await check('deleting one id removes that vector and no other', async () => {
    const before = await count();
    await upsert({ ids: [id('d1'), id('d2')], vectors: [plane(1.2), plane(1.21)] });
    await vector.deleteVector({ indexName, id: id('d1') });
    await vector.deleteVector({ indexName, id: id('absent') });
    assert.deepEqual(idsOf(await near(1.2, { topK: 1 })), [id('d2')]);
    assert.equal((await count()) - before, 1);
  });

  await check('a delete by filter, or of no ids, is refused', async () => {
    const before = await count();
    await failure(vector.deleteVectors({ indexName, filter: { rank: 1 } }), 'ConvexNativeVector.deleteVectors');
    await failure(vector.deleteVectors({ indexName, ids: [] }), 'ids are required');
    assert.equal(await count(), before);
  });
}
