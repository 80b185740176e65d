// ConvexVector: the filter language.
import assert from 'node:assert/strict';
import { openIndexes } from './vector_indexes.mjs';

export const name = 'vector filters';

const ITEMS = [
  ['a', [9, 1], { city: 'Köln', age: 20, active: true, tag: null }],
  ['b', [8, 2], { city: 'Bonn', age: 30, active: false }],
  ['c', [7, 3], { city: 'Bonn', age: 40, active: true }],
  ['d', [6, 4], { city: 'bonn', age: '30', active: 'true' }],
  ['e', [5, 5], undefined],
];

// Sentence, filter, ids of the hits.
const CASES = [
  ['an empty filter matches everything', {}, 'abcde'],
  ['text is equal letter by letter', { city: 'Bonn' }, 'bc'],
  ['a number is not equal to its text', { age: 30 }, 'b'],
  ['true is not equal to its text', { active: true }, 'ac'],
  ['null matches null and not what is missing', { tag: null }, 'a'],
  ['several members must all match', { city: 'Bonn', active: true }, 'c'],
  ['the members may stand under metadata', { metadata: { city: 'Bonn' } }, 'bc'],
  ['a member that no vector has matches nothing', { country: 'DE' }, ''],
  ['$ne matches everything else that has metadata', { city: { $ne: 'Bonn' } }, 'ad'],
  ['$gt is without its bound', { age: { $gt: 20 } }, 'bc'],
  ['$gte is with its bound', { age: { $gte: 30 } }, 'bc'],
  ['$lt is without its bound', { age: { $lt: 30 } }, 'a'],
  ['$lte is with its bound', { age: { $lte: 30 } }, 'ab'],
  ['$in matches any of its values', { city: { $in: ['Köln', 'bonn', 'Ulm'] } }, 'ad'],
  ['$in of nothing matches nothing', { city: { $in: [] } }, ''],
  ['$nin matches none of its values', { city: { $nin: ['Köln', 'bonn'] } }, 'bc'],
  [
    '$and matches what all its parts match',
    { $and: [{ city: 'Bonn' }, { age: { $gt: 30 } }] },
    'c',
  ],
  ['$or matches what any of its parts match', { $or: [{ city: 'Köln' }, { age: 40 }] }, 'ac'],
  [
    '$and and $or nest',
    { $or: [{ $and: [{ city: 'Bonn' }, { active: false }] }, { age: 20 }] },
    'ab',
  ],
  ['$or stands beside equality', { city: 'Bonn', $or: [{ age: 30 }, { age: 20 }] }, 'b'],
];

/** Comparing numbers with text follows JavaScript; only the vectors with number ages take part. */
const isComparison = (filter) => /"\$[gl]te?"/.test(JSON.stringify(filter));

export async function run({ connection, namespace, check, tidy }) {
  const { vector, fresh } = openIndexes({ connection, namespace, tidy });
  const indexName = await fresh('filters', ITEMS);

  for (const [sentence, filter, expected] of CASES) {
    await check(sentence, async () => {
      const hits = await vector.query({ indexName, queryVector: [1, 0], filter });
      const ids = hits.map(({ id }) => id);
      const compared = isComparison(filter) ? ids.filter((id) => id !== 'd') : ids;
      assert.equal(compared.join(''), expected);
    });
  }

  await check('topK counts the vectors that match', async () => {
    const filter = { city: 'Bonn' };
    const hits = await vector.query({ indexName, queryVector: [0, 1], topK: 1, filter });
    assert.deepEqual(
      hits.map(({ id }) => id),
      ['c'],
    );
  });
}
