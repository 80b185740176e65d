// ConvexNativeVector: indexes, upserts, queries and deletes.
import assert from 'node:assert/strict';
import { callFunction, assertNear, failure, range } from '../harness.mjs';
import {
  DIMENSION,
  INDEX,
  assertVectorNear,
  idsOf,
  indexName,
  openTable,
} from './native_table.mjs';

export const name = 'native vector';

const COUNT = 250;
const STEP = 0.002;

export async function run({ connection, namespace, check, tidy }) {
  const context = { check, connection, ...openTable({ connection, namespace, tidy }) };
  await indexes(context);
  await refusedUpserts(context);
  await manyVectors(context);
  await refusedQueries(context);
  await documents(context);
  await deleting(context);
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
  await check(
    'an upsert whose parts do not fit together is refused and writes nothing',
    async () => {
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
    },
  );
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
      metadata: numbers.map((n) => ({
        n,
        category: id(`part${n % 5}`),
        nested: { list: [n, null] },
      })),
    });
    assert.deepEqual(answered, ids);
    assert.equal((await count()) - before, COUNT);
  });

  await check('a query finds the 10 nearest, best first, with cosine scores', async () => {
    const hits = await vector.query({ indexName, queryVector: plane(start) });
    assert.deepEqual(idsOf(hits), range(0, 10).map(label));
    for (const [n, { score }] of hits.entries()) assertNear(score, Math.cos(n * STEP - start));
    assert.deepEqual(hits[3].metadata, {
      n: 3,
      category: id('part3'),
      nested: { list: [3, null] },
    });
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
    assert.deepEqual(
      hits.map(({ metadata }) => metadata.n),
      range(0, 30).map((n) => 5 * n + 4),
    );
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

async function documents({ check, plane, upsert, id, near, connection }) {
  const category = id('document');
  const ids = [id('x1'), id('x2')];
  const config = { ...INDEX, idField: 'id', idIndexName: 'by_record_id' };
  const read = async (rest) =>
    await callFunction(connection, 'query', 'mastra/nativeVector:read', { config, ...rest });
  await upsert({
    ids,
    vectors: [plane(3), plane(3.1)],
    metadata: [{ category, n: 1 }, { category }],
  });

  await check('hits are read by their document id, in that order, without the vector', async () => {
    const filter = { field: 'category', value: category };
    const question = { config, vector: plane(3.2), limit: 2, filter };
    const hits = await callFunction(connection, 'action', 'mastra/nativeVector:query', question);
    const rows = await read({ op: 'getByConvexIds', ids: hits.map((hit) => hit.id) });
    const documents = rows.map(({ _id, _creationTime, ...document }) => document);
    assert.deepEqual(documents, [
      { id: ids[1], category, metadata: { category } },
      { id: ids[0], category, metadata: { category, n: 1 } },
    ]);
    assert.deepEqual(
      rows.map((row) => row._id),
      hits.map((hit) => hit.id),
    );
  });

  await check(
    'documents are listed by record id, with null for those that do not exist',
    async () => {
      const rows = await read({ op: 'listByIds', ids: [ids[0], id('absent'), ids[1]] });
      assert.deepEqual(
        rows.map((row) => row && row.id),
        [ids[0], null, ids[1]],
      );
      assertVectorNear(rows[0].embedding, plane(3));
    },
  );

  await check('a description says when it stopped counting', async () => {
    const limited = await read({ op: 'describe', countLimit: 1 });
    assert.deepEqual(limited, { count: 1, countIsLimited: true });
    assert.equal((await near(3, { topK: 2 })).length, 2);
  });

  await check('an argument that the functions do not declare is refused', async () => {
    await failure(read({ op: 'describe', surprise: 1 }), 'surprise');
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
    await failure(
      vector.deleteVectors({ indexName, filter: { rank: 1 } }),
      'ConvexNativeVector.deleteVectors',
    );
    await failure(vector.deleteVectors({ indexName, ids: [] }), 'ids are required');
    assert.equal(await count(), before);
  });
}
