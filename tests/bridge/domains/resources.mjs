// ConvexStore: resources and their working memory.
import assert from 'node:assert/strict';
import { range, withoutSystemFields } from '../harness.mjs';
import { openMemory } from './adapters.mjs';
import { at, removeMemory } from './records.mjs';

export const name = 'resources';

export async function run({ connection, namespace, check, tidy }) {
  const memory = await openMemory(connection);
  const resources = [];
  const fresh = (label) => {
    resources.push(`${namespace}_${label}`);
    return resources.at(-1);
  };
  tidy(() => removeMemory(connection, resources));
  const get = async (resourceId) => {
    const found = await memory.getResourceById({ resourceId });
    return found && withoutSystemFields(found);
  };
  const dates = { createdAt: at(0), updatedAt: at(1) };

  await check('a resource that does not exist is null', async () => {
    assert.equal(await get(fresh('none')), null);
  });

  await check(
    'a saved resource comes back with its working memory, metadata and dates',
    async () => {
      const id = fresh('save');
      const workingMemory = '# User\n- Name: Łukasz 🙂\n- Tab:\there\n';
      const resource = {
        id,
        workingMemory,
        metadata: { plan: { tier: 2 }, tags: ['a', null] },
        ...dates,
      };
      assert.deepEqual(await memory.saveResource({ resource }), resource);
      assert.deepEqual(await get(id), resource);
    },
  );

  await check('a resource saved without metadata has empty metadata', async () => {
    const id = fresh('plain');
    await memory.saveResource({ resource: { id, workingMemory: 'w', ...dates } });
    assert.deepEqual((await get(id)).metadata, {});
  });

  await check('saving a resource again replaces what it names and keeps the rest', async () => {
    const id = fresh('again');
    const metadata = { a: 1, b: 2 };
    await memory.saveResource({ resource: { id, workingMemory: 'old', metadata, ...dates } });
    await memory.saveResource({
      resource: { id, workingMemory: 'new', createdAt: at(0), updatedAt: at(5) },
    });
    const kept = await get(id);
    assert.deepEqual([kept.workingMemory, kept.metadata, kept.updatedAt], ['new', metadata, at(5)]);
    await memory.saveResource({ resource: { id, metadata: { c: 3 }, ...dates } });
    const replaced = await get(id);
    assert.deepEqual([replaced.workingMemory, replaced.metadata], ['new', { c: 3 }]);
  });

  await check('updating a resource that does not exist creates it', async () => {
    const resourceId = fresh('create');
    const before = Date.now();
    const created = await memory.updateResource({ resourceId, workingMemory: 'first' });
    assert.equal(created.workingMemory, 'first');
    const stored = await get(resourceId);
    assert.deepEqual([stored.id, stored.workingMemory, stored.metadata], [resourceId, 'first', {}]);
    assert.ok(stored.createdAt.getTime() >= before);
    assert.deepEqual(stored.createdAt, stored.updatedAt);
  });

  await check('updating working memory leaves the metadata and the creation date', async () => {
    const id = fresh('working');
    const metadata = { a: 1 };
    await memory.saveResource({ resource: { id, workingMemory: 'old', metadata, ...dates } });
    const updated = await memory.updateResource({ resourceId: id, workingMemory: 'new' });
    assert.deepEqual([updated.workingMemory, updated.metadata], ['new', metadata]);
    const stored = await get(id);
    assert.deepEqual([stored.workingMemory, stored.metadata], ['new', metadata]);
    assert.deepEqual(stored.createdAt, at(0));
    assert.ok(stored.updatedAt > at(1));
  });

  await check('updating metadata merges one level deep and leaves the working memory', async () => {
    const id = fresh('merge');
    const metadata = { kept: 1, replaced: { a: 1 } };
    await memory.saveResource({ resource: { id, workingMemory: 'w', metadata, ...dates } });
    const change = { replaced: { b: 2 }, added: null };
    const updated = await memory.updateResource({ resourceId: id, metadata: change });
    const merged = { kept: 1, replaced: { b: 2 }, added: null };
    assert.deepEqual([updated.workingMemory, updated.metadata], ['w', merged]);
    assert.deepEqual((await get(id)).metadata, merged);
  });

  await check('working memory can be emptied', async () => {
    const resourceId = fresh('empty');
    await memory.updateResource({ resourceId, workingMemory: 'something' });
    await memory.updateResource({ resourceId, workingMemory: '' });
    assert.equal((await get(resourceId)).workingMemory, '');
  });

  await check('working memory of 300 KB comes back whole', async () => {
    const resourceId = fresh('large');
    const workingMemory = 'öäü 記憶 '.repeat(20_000);
    await memory.updateResource({ resourceId, workingMemory });
    assert.equal((await get(resourceId)).workingMemory === workingMemory, true);
  });

  await check('updates of one resource at the same time all take effect', async () => {
    const resourceId = fresh('parallel');
    const numbers = range(0, 20);
    const update = (n) => memory.updateResource({ resourceId, metadata: { [`key${n}`]: n } });
    await Promise.all(numbers.map(update));
    const expected = Object.fromEntries(numbers.map((n) => [`key${n}`, n]));
    assert.deepEqual((await get(resourceId)).metadata, expected);
  });
}
