// ConvexVector: indexes, upserts and queries.
import assert from 'node:assert/strict';
import { assertNear, callStorage, failure, range } from '../harness.mjs';
import { contents, openIndexes, upsert } from './vector_indexes.mjs';

export const name = 'vector';

export async function run({ connection, namespace, check, tidy }) {
  const { vector, fresh } = openIndexes({ connection, namespace, tidy });
  const context = { vector, fresh, check, connection, namespace };
  await indexes(context);
  await upserting(context);
  await querying(context);
  await manyPages(context);
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
  await check(
    'an upsert answers the ids given and keeps vectors and metadata exactly',
    async () => {
      const indexName = await fresh('upsert');
      const metadata = {
        text: 'Köln 🏙',
        nested: { list: [1, null, 'x'], none: null },
        flag: false,
      };
      const items = [
        ['a', [0.1, -2.5e-7], metadata],
        ['b/ü 1', [123456.789, 1 / 3], {}],
      ];
      assert.deepEqual(await upsert(vector, indexName, items), ['a', 'b/ü 1']);
      const expected = Object.fromEntries(items.map(([id, ...rest]) => [id, rest]));
      assert.deepEqual(await contents(vector, indexName), expected);
    },
  );

  await check('an upsert without ids makes different ones', async () => {
    const indexName = await fresh('random');
    const ids = await vector.upsert({
      indexName,
      vectors: [
        [1, 0],
        [0, 1],
      ],
    });
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

  await check(
    'the later of two vectors with one id in a call is the one that is kept',
    async () => {
      const indexName = await fresh('twice');
      await upsert(vector, indexName, [
        ['a', [1, 0], { n: 1 }],
        ['a', [0, 1], { n: 2 }],
      ]);
      assert.deepEqual(await contents(vector, indexName), { a: [[0, 1], { n: 2 }] });
    },
  );

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
    assert.deepEqual(
      hits.map(({ id }) => id),
      ['east', 'northeast', 'north', 'west'],
    );
    for (const [index, score] of [1, Math.SQRT1_2, 0, -1].entries()) {
      assertNear(hits[index].score, score, 1e-9);
    }
    assert.deepEqual(
      hits.map(({ metadata }) => metadata.n),
      [1, 4, 2, 3],
    );
    assert.deepEqual(
      hits.map((hit) => hit.vector),
      Array(4).fill(undefined),
    );
  });

  await check('the length of the query vector does not change the scores', async () => {
    const scores = async (queryVector) => (await query({ queryVector })).map(({ score }) => score);
    const [short, long] = [await scores([0.001, 0.002]), await scores([1000, 2000])];
    for (const [index, score] of short.entries()) assertNear(score, long[index], 1e-9);
  });

  await check('topK cuts the list', async () => {
    assert.deepEqual(
      (await query({ topK: 2 })).map(({ id }) => id),
      ['east', 'northeast'],
    );
    assert.deepEqual(await query({ topK: 0 }), []);
  });

  await check('vectors come along when asked for', async () => {
    const hits = await query({ includeVector: true, topK: 2 });
    assert.deepEqual(
      hits.map((hit) => hit.vector),
      [
        [1, 0],
        [5, 5],
      ],
    );
  });

  await check('equal scores keep the order in which the vectors were stored', async () => {
    const ties = await fresh(
      'ties',
      ['d', 'b', 'a', 'c'].map((id, n) => [id, [n + 1, 0], {}]),
    );
    const hits = await vector.query({ indexName: ties, queryVector: [1, 0] });
    assert.deepEqual(
      hits.map(({ id }) => id),
      ['d', 'b', 'a', 'c'],
    );
  });

  await check('a zero vector is found last, with score -1', async () => {
    const zero = await fresh('zero', [
      ['zero', [0, 0], {}],
      ['back', [-1, 0.5], {}],
    ]);
    const hits = await vector.query({ indexName: zero, queryVector: [1, 0] });
    assert.deepEqual(
      hits.map(({ id }) => id),
      ['back', 'zero'],
    );
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
    assert.deepEqual(
      hits.map(({ id }) => id),
      items.map(([id]) => id),
    );
    assertNear(hits[200].score, 0.5, 1e-9);
  });

  await check('the best of 600 may be in the last page', async () => {
    const hits = await query({ queryVector: [-1, 0, 0], topK: 3 });
    assert.deepEqual(
      hits.map(({ id }) => id),
      ['v599', 'v598', 'v597'],
    );
  });

  await check('a filter applies to every page', async () => {
    const hits = await query({ topK: 1000, filter: { half: 'second' } });
    assert.deepEqual(
      hits.map(({ metadata }) => metadata.n),
      range(300, 600),
    );
  });

  await check('pages of the storage function hold pageSize rows and then end', async () => {
    const tableName = `mastra_vector_${indexName}`;
    const request = { op: 'queryTable', tableName, pageSize: 256 };
    const first = await callStorage(connection, request);
    assert.deepEqual(
      first.map(({ id }) => id),
      range(0, 256).map((n) => `v${n}`),
    );
    const both = { ...request, limit: 5 };
    await failure(callStorage(connection, both), 'limit cannot be combined with pageSize');
    const broken = { ...request, pageSize: 0 };
    await failure(callStorage(connection, broken), 'pageSize must be a positive integer');
  });

  await check('an update by filter reaches every page', async () => {
    const filter = { half: 'second' };
    await vector.updateVector({ indexName, filter, update: { metadata: { marked: true } } });
    const hits = await query({ topK: 1000, filter: { marked: true } });
    assert.deepEqual(
      hits.map(({ metadata }) => metadata.n),
      range(300, 600),
    );
  });

  await check('a delete by filter reaches every page', async () => {
    await vector.deleteVectors({ indexName, filter: { half: 'first' } });
    assert.equal((await vector.describeIndex({ indexName })).count, 300);
    assert.deepEqual(
      (await query({ topK: 1 })).map(({ id }) => id),
      ['v300'],
    );
    assert.equal((await vector.describeIndex({ indexName: other })).count, 1);
  });
}
