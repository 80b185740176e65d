// ConvexVector: indexes, upserts, queries, updates and deletes.
import assert from 'node:assert/strict';
import { assertNear, callStorage, failure, range } from '../harness.mjs';
import { openVector } from './adapters.mjs';

export const name = 'vector';

export async function run({ connection, namespace, check, tidy }) {
  const vector = openVector(connection);
  /** An index of its own; `items` is a list of `[id, vector, metadata]`. */
  const fresh = async (label, items = [], dimension = 2) => {
    const indexName = `${namespace}_${label}`;
    tidy(() => vector.deleteIndex({ indexName }));
    await vector.createIndex({ indexName, dimension });
    if (items.length > 0) await upsert(vector, indexName, items);
    return indexName;
  };
  const context = { vector, fresh, check, connection, namespace };
  await indexes(context);
  await upserting(context);
  await querying(context);
  await manyPages(context);
  await updating(context);
  await deleting(context);
  await emptying(context);
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
async function contents(vector, indexName, dimension = 2) {
  const queryVector = Array(dimension).fill(1);
  const found = await vector.query({ indexName, queryVector, topK: 100_000, includeVector: true });
  return Object.fromEntries(found.map((hit) => [hit.id, [hit.vector, hit.metadata]]));
}

async function indexes({ vector, fresh, check, namespace }) {
  await check('a new index is described and listed', async () => {
    const indexName = await fresh('new', [], 8);
    const description = { dimension: 8, count: 0, metric: 'cosine' };
    assert.deepEqual(await vector.describeIndex({ indexName }), description);
    assert.equal((await vector.listIndexes()).includes(indexName), true);
  });

  await check('creating an index again keeps its vectors', async () => {
    const indexName = await fresh('again', [['a', [1, 0], {}]]);
    await vector.createIndex({ indexName, dimension: 2 });
    assert.equal((await vector.describeIndex({ indexName })).count, 1);
    const listed = (await vector.listIndexes()).filter((other) => other === indexName);
    assert.deepEqual(listed, [indexName]);
  });

  await check('an index that does not exist cannot be described, and finds nothing', async () => {
    const indexName = `${namespace}_absent`;
    await failure(vector.describeIndex({ indexName }), `Index ${indexName} not found`);
    assert.deepEqual(await vector.query({ indexName, queryVector: [1, 0] }), []);
  });

  await check('the same id in two indexes is two vectors, whatever their names', async () => {
    const first = await fresh('pair', [['a', [1, 0], { from: 'first' }]]);
    const second = await fresh('pair_2', [['a', [0, 1], { from: 'second' }]]);
    await vector.deleteVector({ indexName: first, id: 'a' });
    assert.deepEqual(await contents(vector, first), {});
    assert.deepEqual(await contents(vector, second), { a: [[0, 1], { from: 'second' }] });
  });
}

async function upserting({ vector, fresh, check, connection }) {
  await check('an upsert answers the ids given and keeps vectors and metadata exactly', async () => {
    const indexName = await fresh('upsert');
    const metadata = { text: 'Köln 🏙', nested: { list: [1, null, 'x'], none: null }, flag: false };
    const items = [
      ['a', [0.1, -2.5e-7], metadata],
      ['b/ü 1', [123456.789, 1 / 3], {}],
    ];
    assert.deepEqual(await upsert(vector, indexName, items), ['a', 'b/ü 1']);
    const expected = Object.fromEntries(items.map(([id, ...rest]) => [id, rest]));
    assert.deepEqual(await contents(vector, indexName), expected);
  });

  await check('an upsert without ids makes different ones', async () => {
    const indexName = await fresh('random');
    const ids = await vector.upsert({ indexName, vectors: [[1, 0], [0, 1]] });
    assert.deepEqual([ids.length, new Set(ids).size], [2, 2]);
    assert.deepEqual(Object.keys(await contents(vector, indexName)).sort(), [...ids].sort());
  });

  await check('upserting an id again replaces its vector and its metadata', async () => {
    const indexName = await fresh('replace', [['a', [1, 0], { old: 1 }]]);
    await upsert(vector, indexName, [['a', [0, 1], { new: 2 }]]);
    assert.deepEqual(await contents(vector, indexName), { a: [[0, 1], { new: 2 }] });
    await vector.upsert({ indexName, ids: ['a'], vectors: [[1, 1]] });
    assert.deepEqual(await contents(vector, indexName), { a: [[1, 1], undefined] });
  });

  await check('the later of two vectors with one id in a call is the one that is kept', async () => {
    const indexName = await fresh('twice');
    await upsert(vector, indexName, [['a', [1, 0], { n: 1 }], ['a', [0, 1], { n: 2 }]]);
    assert.deepEqual(await contents(vector, indexName), { a: [[0, 1], { n: 2 }] });
  });

  await check('a stored vector is a document of its index with system fields', async () => {
    const indexName = await fresh('document', [['a', [0.5, 0.25], { n: 1 }]]);
    const tableName = `mastra_vector_${indexName}`;
    const row = await callStorage(connection, { op: 'load', tableName, keys: { id: 'a' } });
    const { _id, _creationTime, ...document } = row;
    assert.deepEqual(document, { id: 'a', indexName, embedding: [0.5, 0.25], metadata: { n: 1 } });
    assert.equal(_id.length > 0 && _creationTime > 0, true);
  });
}

async function querying({ vector, fresh, check }) {
  const items = [
    ['east', [1, 0], { n: 1 }],
    ['north', [0, 2], { n: 2 }],
    ['west', [-3, 0], { n: 3 }],
    ['northeast', [5, 5], { n: 4 }],
  ];
  const indexName = await fresh('query', items);
  const query = async (rest) => await vector.query({ indexName, queryVector: [1, 0], ...rest });

  await check('hits come best first with their cosine similarity and metadata', async () => {
    const hits = await query({});
    assert.deepEqual(hits.map(({ id }) => id), ['east', 'northeast', 'north', 'west']);
    for (const [index, score] of [1, Math.SQRT1_2, 0, -1].entries()) {
      assertNear(hits[index].score, score, 1e-9);
    }
    assert.deepEqual(hits.map(({ metadata }) => metadata.n), [1, 4, 2, 3]);
    assert.deepEqual(hits.map((hit) => hit.vector), Array(4).fill(undefined));
  });

  await check('the length of the query vector does not change the scores', async () => {
    const scores = async (queryVector) => (await query({ queryVector })).map(({ score }) => score);
    const [short, long] = [await scores([0.001, 0.002]), await scores([1000, 2000])];
    for (const [index, score] of short.entries()) assertNear(score, long[index], 1e-9);
  });

  await check('topK cuts the list', async () => {
    assert.deepEqual((await query({ topK: 2 })).map(({ id }) => id), ['east', 'northeast']);
    assert.deepEqual(await query({ topK: 0 }), []);
  });

  await check('vectors come along when asked for', async () => {
    const hits = await query({ includeVector: true, topK: 2 });
    assert.deepEqual(hits.map((hit) => hit.vector), [[1, 0], [5, 5]]);
  });

  await check('equal scores keep the order in which the vectors were stored', async () => {
    const ties = await fresh('ties', ['d', 'b', 'a', 'c'].map((id, n) => [id, [n + 1, 0], {}]));
    const hits = await vector.query({ indexName: ties, queryVector: [1, 0] });
    assert.deepEqual(hits.map(({ id }) => id), ['d', 'b', 'a', 'c']);
  });

  await check('a zero vector is found last, with score -1', async () => {
    const zero = await fresh('zero', [['zero', [0, 0], {}], ['back', [-1, 0.5], {}]]);
    const hits = await vector.query({ indexName: zero, queryVector: [1, 0] });
    assert.deepEqual(hits.map(({ id }) => id), ['back', 'zero']);
    assert.equal(hits[1].score, -1);
  });

  await check('a query without a vector is refused with an id', async () => {
    const error = await failure(vector.query({ indexName, queryVector: undefined }));
    assert.equal(error.id, 'MASTRA_VECTOR_CONVEX_QUERY_MISSING_VECTOR');
  });
}

async function manyPages({ vector, fresh, check, connection }) {
  const count = 600;
  const angle = (n) => (n * Math.PI) / count;
  const items = range(0, count).map((n) => {
    const values = [Math.cos(angle(n)), Math.sin(angle(n)), 0];
    return [`v${n}`, values, { n, half: n < count / 2 ? 'first' : 'second' }];
  });
  const indexName = await fresh('pages', [], 3);
  const other = await fresh('pages_other', [['x', [1, 0, 0], {}]], 3);
  for (let start = 0; start < count; start += 200) {
    await upsert(vector, indexName, items.slice(start, start + 200));
  }
  const query = async (rest) => await vector.query({ indexName, queryVector: [1, 0, 0], ...rest });

  await check('600 vectors are counted and searched over several pages', async () => {
    assert.equal((await vector.describeIndex({ indexName })).count, count);
    const hits = await query({ topK: 1000 });
    assert.deepEqual(hits.map(({ id }) => id), items.map(([id]) => id));
    assertNear(hits[200].score, 0.5, 1e-9);
  });

  await check('the best of 600 may be in the last page', async () => {
    const hits = await query({ queryVector: [-1, 0, 0], topK: 3 });
    assert.deepEqual(hits.map(({ id }) => id), ['v599', 'v598', 'v597']);
  });

  await check('a filter applies to every page', async () => {
    const hits = await query({ topK: 1000, filter: { half: 'second' } });
    assert.deepEqual(hits.map(({ metadata }) => metadata.n), range(300, 600));
  });

  await check('pages of the storage function hold pageSize rows and then end', async () => {
    const tableName = `mastra_vector_${indexName}`;
    const request = { op: 'queryTable', tableName, pageSize: 256 };
    const first = await callStorage(connection, request);
    assert.deepEqual(first.map(({ id }) => id), range(0, 256).map((n) => `v${n}`));
    const both = { ...request, limit: 5 };
    await failure(callStorage(connection, both), 'limit cannot be combined with pageSize');
    const broken = { ...request, pageSize: 0 };
    await failure(callStorage(connection, broken), 'pageSize must be a positive integer');
  });

  await check('an update by filter reaches every page', async () => {
    const filter = { half: 'second' };
    await vector.updateVector({ indexName, filter, update: { metadata: { marked: true } } });
    const hits = await query({ topK: 1000, filter: { marked: true } });
    assert.deepEqual(hits.map(({ metadata }) => metadata.n), range(300, 600));
  });

  await check('a delete by filter reaches every page', async () => {
    await vector.deleteVectors({ indexName, filter: { half: 'first' } });
    assert.equal((await vector.describeIndex({ indexName })).count, 300);
    assert.deepEqual((await query({ topK: 1 })).map(({ id }) => id), ['v300']);
    assert.equal((await vector.describeIndex({ indexName: other })).count, 1);
  });
}

async function updating({ vector, fresh, check }) {
  const start = () => [
    ['a', [1, 0], { kind: 'x', kept: 1 }],
    ['b', [0, 1], { kind: 'x', kept: 2 }],
    ['c', [1, 1], { kind: 'y', kept: 3 }],
  ];

  await check('an update by id merges metadata one level deep and keeps the vector', async () => {
    const indexName = await fresh('update', start());
    const metadata = { kind: { deep: true }, added: null };
    await vector.updateVector({ indexName, id: 'a', update: { metadata } });
    const { a, b } = await contents(vector, indexName);
    assert.deepEqual(a, [[1, 0], { kind: { deep: true }, kept: 1, added: null }]);
    assert.deepEqual(b, [[0, 1], { kind: 'x', kept: 2 }]);
  });

  await check('an update by id replaces the vector and keeps the metadata', async () => {
    const indexName = await fresh('revector', start());
    await vector.updateVector({ indexName, id: 'a', update: { vector: [0.25, 0.75] } });
    const { a } = await contents(vector, indexName);
    assert.deepEqual(a, [[0.25, 0.75], { kind: 'x', kept: 1 }]);
  });

  await check('an update by filter changes the vectors that match and no others', async () => {
    const indexName = await fresh('filtered', start());
    const update = { vector: [9, 9], metadata: { seen: true } };
    await vector.updateVector({ indexName, filter: { kind: 'x' }, update });
    assert.deepEqual(await contents(vector, indexName), {
      a: [[9, 9], { kind: 'x', kept: 1, seen: true }],
      b: [[9, 9], { kind: 'x', kept: 2, seen: true }],
      c: [[1, 1], { kind: 'y', kept: 3 }],
    });
  });

  await check('updating an id that does not exist changes nothing', async () => {
    const indexName = await fresh('ignored', start());
    await vector.updateVector({ indexName, id: 'absent', update: { vector: [1, 1] } });
    assert.equal((await vector.describeIndex({ indexName })).count, 3);
  });

  await check('an update needs either an id or a filter that says something', async () => {
    const indexName = await fresh('unclear', start());
    const update = { metadata: { broken: true } };
    const attempt = (target) => vector.updateVector({ indexName, ...target, update });
    await failure(attempt({ id: 'a', filter: { kind: 'x' } }), 'id and filter are mutually exclusive');
    await failure(attempt({}), 'Either id or filter must be provided');
    await failure(attempt({ filter: {} }), 'cannot update with empty filter');
    const hits = await vector.query({ indexName, queryVector: [1, 0], filter: { broken: true } });
    assert.deepEqual(hits, []);
  });
}

async function deleting({ vector, fresh, check }) {
  const start = () => range(0, 40).map((n) => [`v${n}`, [1, n], { n, odd: n % 2 === 1 }]);
  const numbers = async (indexName) =>
    Object.values(await contents(vector, indexName)).map(([, { n }]) => n).sort((a, b) => a - b);

  await check('deleting one id removes that vector', async () => {
    const indexName = await fresh('delete', start());
    await vector.deleteVector({ indexName, id: 'v3' });
    await vector.deleteVector({ indexName, id: 'absent' });
    assert.deepEqual(await numbers(indexName), range(0, 40).filter((n) => n !== 3));
  });

  await check('deleting ids removes those, however many, and ignores absent ones', async () => {
    const indexName = await fresh('delete_ids', start());
    const ids = [...range(0, 37).map((n) => `v${n}`), 'v0', 'absent'];
    await vector.deleteVectors({ indexName, ids });
    assert.deepEqual(await numbers(indexName), [37, 38, 39]);
  });

  await check('deleting by filter removes what matches', async () => {
    const indexName = await fresh('delete_filter', start());
    await vector.deleteVectors({ indexName, filter: { $and: [{ odd: true }, { n: { $gt: 4 } }] } });
    const expected = range(0, 40).filter((n) => n % 2 === 0 || n <= 4);
    assert.deepEqual(await numbers(indexName), expected);
  });

  await check('a delete needs either ids or a filter that says something', async () => {
    const indexName = await fresh('delete_unclear', start());
    const attempt = (target) => vector.deleteVectors({ indexName, ...target });
    const both = { ids: ['v1'], filter: { odd: true } };
    await failure(attempt(both), 'ids and filter are mutually exclusive');
    await failure(attempt({}), 'Either filter or ids must be provided');
    await failure(attempt({ ids: [] }), 'cannot delete with empty ids array');
    await failure(attempt({ filter: {} }), 'cannot delete with empty filter');
    assert.equal((await vector.describeIndex({ indexName })).count, 40);
  });
}

async function emptying({ vector, fresh, check, namespace }) {
  const sixty = () => range(0, 60).map((n) => [`v${n}`, [1, n], { n }]);

  await check('truncating removes every vector and keeps the index', async () => {
    const indexName = await fresh('truncate', sixty());
    const neighbour = await fresh('truncate_not', [['a', [1, 0], {}]]);
    await vector.truncateIndex({ indexName });
    const description = { dimension: 2, count: 0, metric: 'cosine' };
    assert.deepEqual(await vector.describeIndex({ indexName }), description);
    assert.equal((await vector.describeIndex({ indexName: neighbour })).count, 1);
  });

  await check('deleting an index removes it and its vectors', async () => {
    const indexName = await fresh('drop', sixty());
    await vector.deleteIndex({ indexName });
    assert.equal((await vector.listIndexes()).includes(indexName), false);
    await failure(vector.describeIndex({ indexName }), `Index ${indexName} not found`);
    await vector.createIndex({ indexName, dimension: 2 });
    assert.equal((await vector.describeIndex({ indexName })).count, 0);
  });

  await check('deleting or truncating an index that does not exist changes nothing', async () => {
    const indexName = `${namespace}_absent`;
    assert.equal(await vector.truncateIndex({ indexName }), undefined);
    assert.equal(await vector.deleteIndex({ indexName }), undefined);
  });
}
