// ConvexVector: updates, deletes and emptying an index.
import assert from 'node:assert/strict';
import { failure, range } from '../harness.mjs';
import { contents, openIndexes } from './vector_indexes.mjs';

export const name = 'vector changes';

export async function run({ connection, namespace, check, tidy }) {
  const { vector, fresh } = openIndexes({ connection, namespace, tidy });
  const context = { vector, fresh, check, namespace };
  await updating(context);
  await deleting(context);
  await emptying(context);
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
    await failure(
      attempt({ id: 'a', filter: { kind: 'x' } }),
      'id and filter are mutually exclusive',
    );
    await failure(attempt({}), 'Either id or filter must be provided');
    await failure(attempt({ filter: {} }), 'cannot update with empty filter');
    const hits = await vector.query({ indexName, queryVector: [1, 0], filter: { broken: true } });
    assert.deepEqual(hits, []);
  });
}

async function deleting({ vector, fresh, check }) {
  const start = () => range(0, 40).map((n) => [`v${n}`, [1, n], { n, odd: n % 2 === 1 }]);
  const numbers = async (indexName) =>
    Object.values(await contents(vector, indexName))
      .map(([, { n }]) => n)
      .sort((a, b) => a - b);

  await check('deleting one id removes that vector', async () => {
    const indexName = await fresh('delete', start());
    await vector.deleteVector({ indexName, id: 'v3' });
    await vector.deleteVector({ indexName, id: 'absent' });
    assert.deepEqual(
      await numbers(indexName),
      range(0, 40).filter((n) => n !== 3),
    );
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
