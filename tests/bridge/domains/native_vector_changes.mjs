// ConvexNativeVector: filters, and what updates and repeated upserts do to them.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { assertNear, failure, outcome } from '../harness.mjs';
import { assertVectorNear, idsOf, indexName, openTable } from './native_table.mjs';

export const name = 'native vector changes';

const STEP = 0.002;

export async function run({ connection, namespace, check, tidy }) {
  const context = { check, ...openTable({ connection, namespace, tidy }) };
  await filters(context);
  await updating(context);
  await replacing(context);
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

  await check(
    'a filter with $or finds what any branch matches, or is refused as reserved',
    async () => {
      const filter = { $or: [{ category: `${mine}2` }, { rank: rank + 0.5 }, { category: null }] };
      const { value, refusal } = await outcome(labels(filter));
      if (refusal) assert.match(refusal, /\$or.*reserved/);
      else assert.equal(value, 'f1 f2 f3');
    },
  );
}

async function updating({ vector, check, plane, upsert, id, near }) {
  const target = id('updated');
  const [old, fresh] = [id('old'), id('fresh')];
  const update = async (change) =>
    await vector.updateVector({ indexName, id: target, update: change });
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
    await vector.updateVector({
      indexName,
      id: absent,
      update: { metadata: { category: absent } },
    });
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
    assert.deepEqual(
      hits.map(({ metadata }) => metadata),
      [{ category: two }],
    );
  });

  await check('a filter field that the new metadata lacks is gone', async () => {
    await upsert({ ids: [target], vectors: [plane(-2)], metadata: [{ other: true }] });
    assert.deepEqual(await found(two), []);
    const [hit] = await near(-2, { topK: 1 });
    assert.deepEqual([hit.id, hit.metadata], [target, { other: true }]);
  });
}
