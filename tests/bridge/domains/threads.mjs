// ConvexStore: threads.
import assert from 'node:assert/strict';
import { assertNames, failure, outcome, range, withoutSystemFields } from '../harness.mjs';
import { openMemory } from './adapters.mjs';
import { at, idsOf, message, removeMemory, thread } from './records.mjs';

export const name = 'threads';

export async function run({ connection, namespace, check, tidy }) {
  const memory = await openMemory(connection);
  const resources = [];
  const fresh = (label) => {
    const resourceId = `${namespace}_${label}`;
    resources.push(resourceId);
    return resourceId;
  };
  tidy(() => removeMemory(connection, resources));
  const context = { memory, fresh, check };
  await savingAndReading(context);
  await updating(context);
  await deleting(context);
  await listing(context);
  await refusals(context);
}

const read = async (memory, threadId) => {
  const found = await memory.getThreadById({ threadId });
  return found && withoutSystemFields(found);
};

async function savingAndReading({ memory, fresh, check }) {
  await check('a saved thread comes back with its title, dates and metadata', async () => {
    const r = fresh('save');
    const metadata = {
      nested: { list: [1, 'zwei', null, true], empty: {} },
      ratio: 0.1,
      text: 'ключ 🗝',
    };
    const saved = thread(`${r}_t`, r, 5, { title: 'Grüße 👋', metadata, updatedAt: at(7) });
    assert.deepEqual(await memory.saveThread({ thread: saved }), saved);
    assert.deepEqual(await read(memory, saved.id), saved);
  });

  await check('an empty title stays empty', async () => {
    const r = fresh('untitled');
    await memory.saveThread({ thread: thread(`${r}_t`, r, 0, { title: '' }) });
    assert.equal((await read(memory, `${r}_t`)).title, '');
  });

  await check('a thread saved without metadata has empty metadata', async () => {
    const r = fresh('plain');
    await memory.saveThread({ thread: thread(`${r}_t`, r, 0, { metadata: undefined }) });
    assert.deepEqual((await read(memory, `${r}_t`)).metadata, {});
  });

  await check('a thread that does not exist is null', async () => {
    assert.equal(await memory.getThreadById({ threadId: `${fresh('none')}_t` }), null);
  });

  await check('a thread is null to every resource but its own', async () => {
    const r = fresh('scope');
    const threadId = `${r}_t`;
    await memory.saveThread({ thread: thread(threadId, r) });
    assert.equal((await memory.getThreadById({ threadId, resourceId: r })).id, threadId);
    assert.equal(await memory.getThreadById({ threadId, resourceId: `${r}_x` }), null);
    assert.equal(await memory.getThreadById({ threadId, resourceId: '' }), null);
  });

  await check(
    'saving a thread again overwrites it, metadata included, and adds no row',
    async () => {
      const r = fresh('again');
      const first = thread(`${r}_t`, r, 0, { metadata: { kept: false, old: 1 } });
      const second = thread(`${r}_t`, r, 1, { title: 'Second', metadata: { kept: true } });
      await memory.saveThread({ thread: first });
      await memory.saveThread({ thread: second });
      assert.deepEqual(await read(memory, `${r}_t`), second);
      assert.equal((await memory.listThreads({ filter: { resourceId: r } })).total, 1);
    },
  );

  await check('a metadata key that Convex reserves is refused by name or kept', async () => {
    for (const [index, key] of ['$schema', 'ключ'].entries()) {
      const r = fresh(`reserved${index}`);
      const saved = thread(`${r}_t`, r, 0, { metadata: { [key]: 1 } });
      const { refusal } = await outcome(memory.saveThread({ thread: saved }));
      if (refusal) assertNames(refusal, key);
      assert.deepEqual(await read(memory, `${r}_t`), refusal ? null : saved);
    }
  });
}

async function updating({ memory, fresh, check }) {
  await check('updating a thread sets the title and merges metadata one level deep', async () => {
    const r = fresh('update');
    const id = `${r}_t`;
    const metadata = { kept: 1, replaced: { a: 1, b: 2 } };
    await memory.saveThread({ thread: thread(id, r, 3, { metadata }) });
    const change = { replaced: { c: 3 }, added: null };
    const updated = await memory.updateThread({ id, title: 'New', metadata: change });
    const merged = { kept: 1, replaced: { c: 3 }, added: null };
    assert.deepEqual([updated.title, updated.metadata], ['New', merged]);
    const stored = await read(memory, id);
    assert.deepEqual([stored.title, stored.metadata, stored.createdAt], ['New', merged, at(3)]);
    assert.ok(stored.updatedAt > at(3));
  });

  await check('updates of one thread at the same time all take effect', async () => {
    const r = fresh('parallel');
    const id = `${r}_t`;
    await memory.saveThread({ thread: thread(id, r) });
    const numbers = range(0, 20);
    const update = (n) => memory.updateThread({ id, title: 'T', metadata: { [`key${n}`]: n } });
    await Promise.all(numbers.map(update));
    const expected = Object.fromEntries(numbers.map((n) => [`key${n}`, n]));
    assert.deepEqual((await read(memory, id)).metadata, expected);
  });

  await check('updating a thread that does not exist is an error with an id', async () => {
    const id = `${fresh('missing')}_t`;
    const update = memory.updateThread({ id, title: 'x', metadata: {} });
    const error = await failure(update, `Thread ${id} not found`);
    assert.equal(error.id, 'MASTRA_STORAGE_CONVEX_UPDATE_THREAD_THREAD_NOT_FOUND');
    assert.equal(error.category, 'USER');
    assert.equal(await memory.getThreadById({ threadId: id }), null);
  });
}

async function deleting({ memory, fresh, check }) {
  await check('deleting a thread removes its messages and no others', async () => {
    const r = fresh('delete');
    await memory.saveThread({ thread: thread(`${r}_t`, r) });
    await memory.saveThread({ thread: thread(`${r}_u`, r) });
    const messages = range(0, 60).map((n) => message(`${r}_m${n}`, `${r}_t`, r, n));
    const other = message(`${r}_o`, `${r}_u`, r, 1);
    await memory.saveMessages({ messages: [...messages, other] });
    await memory.deleteThread({ threadId: `${r}_t` });
    assert.equal(await memory.getThreadById({ threadId: `${r}_t` }), null);
    const left = await memory.listMessagesByResourceId({ resourceId: r, perPage: false });
    assert.deepEqual(idsOf(left.messages), [`${r}_o`]);
    assert.equal((await read(memory, `${r}_u`)).id, `${r}_u`);
  });

  await check('deleting a thread that does not exist changes nothing', async () => {
    assert.equal(await memory.deleteThread({ threadId: `${fresh('gone')}_t` }), undefined);
  });
}

async function listing({ memory, fresh, check }) {
  const r = fresh('list');
  const filter = { resourceId: r };
  // Saved out of order; `updatedAt` runs against `createdAt`; c and d share their dates.
  const minutes = { b: [2, 8], a: [1, 9], e: [5, 5], c: [3, 7], d: [3, 7] };
  for (const [label, [created, updated]] of Object.entries(minutes)) {
    const metadata = {
      group: 'ab'.includes(label) ? 1 : '1',
      label,
      ...(label === 'a' ? { none: null } : {}),
    };
    const row = thread(`${r}_${label}`, r, created, { updatedAt: at(updated), metadata });
    await memory.saveThread({ thread: row });
  }
  const labels = ({ threads }) => threads.map(({ metadata }) => metadata.label).join('');

  await check(
    'threads are listed newest first, equal ones in the order they were saved',
    async () => {
      const page = await memory.listThreads({ filter });
      assert.equal(labels(page), 'ecdba');
      const { total, page: number, perPage, hasMore } = page;
      assert.deepEqual([total, number, perPage, hasMore], [5, 0, 100, false]);
      assert.ok(page.threads.every(({ createdAt }) => createdAt instanceof Date));
    },
  );

  await check('pages of threads follow each other without gap or overlap', async () => {
    const pages = [];
    for (const page of [0, 1, 2, 3])
      pages.push(await memory.listThreads({ filter, perPage: 2, page }));
    assert.deepEqual(pages.map(labels), ['ec', 'db', 'a', '']);
    assert.deepEqual(
      pages.map(({ hasMore }) => hasMore),
      [true, true, false, false],
    );
    assert.deepEqual(
      pages.map(({ total }) => total),
      [5, 5, 5, 5],
    );
  });

  await check('all threads come at once with perPage false', async () => {
    const page = await memory.listThreads({ filter, perPage: false });
    assert.deepEqual([labels(page), page.perPage, page.hasMore], ['ecdba', false, false]);
  });

  await check('threads can be ordered by either date in either direction', async () => {
    const order = async (field, direction) =>
      labels(await memory.listThreads({ filter, orderBy: { field, direction } }));
    assert.equal(await order('createdAt', 'ASC'), 'abcde');
    assert.equal(await order('updatedAt', 'ASC'), 'ecdba');
    assert.equal(await order('updatedAt', 'DESC'), 'abcde');
  });

  await check('threads are filtered by metadata, strictly and all keys together', async () => {
    const matching = async (metadata) =>
      labels(await memory.listThreads({ filter: { resourceId: r, metadata } }));
    assert.equal(await matching({ group: 1 }), 'ba');
    assert.equal(await matching({ group: '1' }), 'ecd');
    assert.equal(await matching({ group: '1', label: 'd' }), 'd');
    assert.equal(await matching({ none: null }), 'a');
    assert.equal(await matching({ group: 2 }), '');
  });

  await check('the page and total of a metadata filter count matching threads only', async () => {
    const metadata = { group: '1' };
    const page = await memory.listThreads({
      filter: { resourceId: r, metadata },
      perPage: 2,
      page: 1,
    });
    assert.deepEqual([labels(page), page.total, page.hasMore], ['d', 3, false]);
  });

  await check('a resource without threads has an empty list', async () => {
    const page = await memory.listThreads({ filter: { resourceId: `${r}_x` } });
    assert.deepEqual(page, { threads: [], total: 0, page: 0, perPage: 100, hasMore: false });
  });

  await check('150 threads of a resource are all counted and paged', async () => {
    const many = fresh('many');
    const save = (n) => memory.saveThread({ thread: thread(`${many}_${n}`, many, n) });
    await Promise.all(range(0, 150).map(save));
    const pages = [];
    for (const page of [0, 1])
      pages.push(await memory.listThreads({ filter: { resourceId: many }, page }));
    assert.deepEqual(
      pages.map(({ total, hasMore }) => [total, hasMore]),
      [
        [150, true],
        [150, false],
      ],
    );
    const listed = pages.flatMap(({ threads }) => idsOf(threads));
    assert.deepEqual(
      listed,
      range(0, 150)
        .reverse()
        .map((n) => `${many}_${n}`),
    );
  });
}

async function refusals({ memory, fresh, check }) {
  const filter = { resourceId: fresh('refused') };
  const invalidPage = 'MASTRA_STORAGE_CONVEX_LIST_THREADS_INVALID_PAGE';

  await check('impossible pages of threads are refused with an id', async () => {
    const cases = [{ page: -1 }, { perPage: -1 }, { perPage: 1.5 }, { perPage: false, page: 1 }];
    for (const paging of cases) {
      const error = await failure(memory.listThreads({ filter, ...paging }));
      assert.equal(error.id, invalidPage, JSON.stringify(paging));
    }
  });

  await check('a metadata key that is no identifier is refused with an id', async () => {
    const metadata = { 'not a key': 1 };
    const error = await failure(memory.listThreads({ filter: { ...filter, metadata } }));
    assert.equal(error.id, 'MASTRA_STORAGE_CONVEX_LIST_THREADS_INVALID_METADATA_KEY');
  });
}
