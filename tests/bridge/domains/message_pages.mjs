// ConvexStore: pages of messages, by thread and by resource, filtered and with context.
import assert from 'node:assert/strict';
import { failure, range, withoutSystemFields } from '../harness.mjs';
import { openMemory } from './adapters.mjs';
import { at, idsOf, message, removeMemory, thread } from './records.mjs';

export const name = 'message pages';

const BLANK_THREAD = 'MASTRA_STORAGE_CONVEX_LIST_MESSAGES_INVALID_THREAD_ID';
const BAD_PAGE = 'MASTRA_STORAGE_CONVEX_LIST_MESSAGES_BY_RESOURCE_ID_INVALID_PAGE';

export async function run({ connection, namespace, check, tidy }) {
  const memory = await openMemory(connection);
  const r = `${namespace}_r`;
  const other = `${namespace}_s`;
  tidy(() => removeMemory(connection, [r, other]));
  const conversation = await converse(memory, namespace, r, other);
  const context = { memory, check, r, other, ...conversation };
  await ofThread(context);
  await ordered(context);
  await byDate(context);
  await byMetadata(context);
  await withContext(context);
  await ofResource(context);
  await refusals(context);
}

/**
 * Thread `t` with 45 messages of `r`, a minute apart, saved newest first; thread `u` with 5 of `r`
 * and 5 of `other`, alternating.
 */
async function converse(memory, namespace, r, other) {
  const t = `${namespace}_t`;
  const u = `${namespace}_u`;
  const id = (n) => `${namespace}_${String(n).padStart(3, '0')}`;
  const long = range(0, 45).map((n) => {
    const metadata = { third: n % 3, even: n % 2 === 0, ...(n === 7 ? { none: null } : {}) };
    return message(id(n), t, r, n, { metadata, role: n % 2 === 0 ? 'user' : 'assistant' });
  });
  const mixed = range(100, 110).map((n) => message(id(n), u, n % 2 === 0 ? r : other, n));
  for (const threadId of [t, u]) await memory.saveThread({ thread: thread(threadId, r) });
  await memory.saveMessages({ messages: [...long].reverse() });
  await memory.saveMessages({ messages: mixed });
  /** Which messages of the conversation a page holds, by number. */
  const numbers = ({ messages }) =>
    messages.map((row) => Number(row.id.slice(namespace.length + 1)));
  return { t, u, id, long, mixed, numbers };
}

const shape = ({ total, page, perPage, hasMore }) => [total, page, perPage, hasMore];

async function ofThread({ memory, check, t, u, r, other, long, numbers }) {
  await check('a page of a thread is its 40 oldest messages, oldest first', async () => {
    const page = await memory.listMessages({ threadId: t });
    assert.deepEqual(page.messages.map(withoutSystemFields), long.slice(0, 40));
    assert.deepEqual(shape(page), [45, 0, 40, true]);
  });

  await check('the next page of a thread holds the rest', async () => {
    const page = await memory.listMessages({ threadId: t, page: 1 });
    assert.deepEqual(numbers(page), range(40, 45));
    assert.deepEqual(shape(page), [45, 1, 40, false]);
  });

  await check('pages end exactly where the messages end', async () => {
    const pages = [];
    for (const page of [0, 1, 2, 3])
      pages.push(await memory.listMessages({ threadId: t, perPage: 15, page }));
    assert.deepEqual(
      pages.map(({ messages }) => messages.length),
      [15, 15, 15, 0],
    );
    assert.deepEqual(
      pages.map(({ hasMore }) => hasMore),
      [true, true, false, false],
    );
    assert.deepEqual(pages.flatMap(numbers), range(0, 45));
  });

  await check('perPage false gives the whole thread and perPage 0 nothing', async () => {
    const whole = await memory.listMessages({ threadId: t, perPage: false });
    assert.deepEqual(numbers(whole), range(0, 45));
    assert.deepEqual(shape(whole), [45, 0, false, false]);
    const nothing = await memory.listMessages({ threadId: t, perPage: 0 });
    assert.deepEqual([nothing.messages, nothing.total, nothing.hasMore], [[], 0, false]);
  });

  await check('a thread that does not exist has an empty page', async () => {
    const page = await memory.listMessages({ threadId: `${t}_absent` });
    assert.deepEqual([page.messages, ...shape(page)], [[], 0, 0, 40, false]);
  });

  await check('several threads are read as one', async () => {
    const page = await memory.listMessages({ threadId: [u, t], perPage: 10, page: 4 });
    assert.deepEqual(numbers(page), [...range(40, 45), ...range(100, 105)]);
    assert.deepEqual(shape(page), [55, 4, 10, true]);
  });

  await check('a page can be limited to the messages of one resource', async () => {
    const page = await memory.listMessages({ threadId: u, resourceId: r });
    assert.deepEqual([numbers(page), page.total], [[100, 102, 104, 106, 108], 5]);
    const theirs = await memory.listMessages({ threadId: u, resourceId: other });
    assert.deepEqual(numbers(theirs), [101, 103, 105, 107, 109]);
    const nobody = await memory.listMessages({ threadId: u, resourceId: `${r}_absent` });
    assert.deepEqual([nobody.messages, nobody.total], [[], 0]);
  });
}

async function ordered({ memory, check, t, numbers }) {
  const orderBy = { field: 'createdAt', direction: 'DESC' };

  await check('newest first gives the newest messages on page 0', async () => {
    const page = await memory.listMessages({ threadId: t, perPage: 3, orderBy });
    assert.deepEqual([numbers(page), page.hasMore], [[44, 43, 42], true]);
  });

  await check('newest first gives the oldest message on the last page', async () => {
    const page = await memory.listMessages({ threadId: t, perPage: 22, page: 2, orderBy });
    assert.deepEqual([numbers(page), page.hasMore], [[0], false]);
  });
}

async function byDate({ memory, check, t, numbers }) {
  const between = async (dateRange, paging = {}) =>
    await memory.listMessages({ threadId: t, filter: { dateRange }, ...paging });

  await check('both ends of a date range are inclusive unless said otherwise', async () => {
    const ends = { start: at(10), end: at(13) };
    assert.deepEqual(numbers(await between(ends)), [10, 11, 12, 13]);
    assert.deepEqual(numbers(await between({ ...ends, startExclusive: true })), [11, 12, 13]);
    assert.deepEqual(numbers(await between({ ...ends, endExclusive: true })), [10, 11, 12]);
  });

  await check('a date range may be open on either side', async () => {
    assert.deepEqual(numbers(await between({ start: at(42) })), [42, 43, 44]);
    assert.deepEqual(numbers(await between({ end: at(2) })), [0, 1, 2]);
  });

  await check('pages and totals of a date range count what lies inside it', async () => {
    const page = await between({ start: at(20), end: at(29) }, { perPage: 4, page: 1 });
    assert.deepEqual([numbers(page), page.total, page.hasMore], [[24, 25, 26, 27], 10, true]);
    const empty = await between({ start: at(60) });
    assert.deepEqual([empty.messages, empty.total], [[], 0]);
  });
}

async function byMetadata({ memory, check, t, numbers }) {
  const matching = async (metadata, rest = {}) =>
    await memory.listMessages({ threadId: t, filter: { metadata, ...rest }, perPage: 5 });

  await check('messages are filtered by metadata, all keys together', async () => {
    const page = await matching({ third: 1, even: true });
    assert.deepEqual([numbers(page), page.total, page.hasMore], [[4, 10, 16, 22, 28], 7, true]);
  });

  await check('metadata is compared strictly, and null only matches null', async () => {
    assert.deepEqual(numbers(await matching({ third: '1' })), []);
    assert.deepEqual(numbers(await matching({ none: null })), [7]);
  });

  await check('empty metadata filters nothing', async () => {
    assert.equal((await matching({})).total, 45);
  });

  await check('metadata and date range hold together', async () => {
    const dateRange = { start: at(30), end: at(40) };
    assert.deepEqual(numbers(await matching({ third: 0 }, { dateRange })), [30, 33, 36, 39]);
  });
}

async function withContext({ memory, check, t, u, id, numbers }) {
  const including = async (include, rest = {}) =>
    await memory.listMessages({ threadId: t, perPage: 0, include, ...rest });

  await check('an included message comes with the neighbours asked for', async () => {
    const page = await including([{ id: id(20), withPreviousMessages: 2, withNextMessages: 3 }]);
    assert.deepEqual(numbers(page), range(18, 24));
    assert.deepEqual([page.total, page.hasMore], [0, false]);
  });

  await check('neighbours stop at the ends of the thread', async () => {
    const first = { id: id(0), withPreviousMessages: 5, withNextMessages: 1 };
    const last = { id: id(44), withPreviousMessages: 1, withNextMessages: 5 };
    assert.deepEqual(numbers(await including([last, first])), [0, 1, 43, 44]);
  });

  await check('windows that overlap give each message once', async () => {
    const around = (n) => ({ id: id(n), withPreviousMessages: 2, withNextMessages: 2 });
    assert.deepEqual(numbers(await including([around(11), around(13)])), range(9, 16));
  });

  await check('an included message may be in another thread', async () => {
    const page = await including([{ id: id(104), withPreviousMessages: 1, withNextMessages: 1 }]);
    assert.deepEqual(numbers(page), [103, 104, 105]);
  });

  await check('an included message that does not exist is skipped', async () => {
    const page = await including([{ id: `${id(0)}_absent`, withNextMessages: 2 }, { id: id(1) }]);
    assert.deepEqual(numbers(page), [1]);
  });

  await check('included messages join the page in its order', async () => {
    const include = [{ id: id(30), withPreviousMessages: 1 }];
    const page = await including(include, { perPage: 2 });
    assert.deepEqual([numbers(page), page.total, page.hasMore], [[0, 1, 29, 30], 45, true]);
    const orderBy = { field: 'createdAt', direction: 'DESC' };
    const newest = await including(include, { perPage: 2, orderBy });
    assert.deepEqual(numbers(newest), [44, 43, 30, 29]);
  });

  await check('neighbours are not held to the date range of the page', async () => {
    const include = [{ id: id(20), withPreviousMessages: 1, withNextMessages: 1 }];
    const filter = { dateRange: { start: at(43) } };
    const page = await including(include, { perPage: 10, filter });
    assert.deepEqual([numbers(page), page.total], [[19, 20, 21, 43, 44], 2]);
  });

  await check('messages of two threads are included side by side', async () => {
    const include = [{ id: id(3) }, { id: id(109), withPreviousMessages: 1 }];
    const page = await memory.listMessages({ threadId: [t, u], perPage: 0, include });
    assert.deepEqual(numbers(page), [3, 108, 109]);
  });
}

async function ofResource({ memory, check, r, other, mixed, numbers }) {
  const list = async (rest) => await memory.listMessagesByResourceId({ resourceId: r, ...rest });

  await check('messages of a resource come from all its threads, oldest first', async () => {
    const page = await list({ perPage: false });
    assert.deepEqual(numbers(page), [...range(0, 45), 100, 102, 104, 106, 108]);
    assert.deepEqual([page.total, page.hasMore], [50, false]);
    const theirs = await memory.listMessagesByResourceId({ resourceId: other });
    assert.deepEqual(
      theirs.messages,
      mixed.filter(({ resourceId }) => resourceId === other),
    );
  });

  await check('pages of a resource follow each other', async () => {
    const pages = [await list({ perPage: 40 }), await list({ perPage: 40, page: 1 })];
    assert.deepEqual(pages.map(shape), [
      [50, 0, 40, true],
      [50, 1, 40, false],
    ]);
    assert.deepEqual(
      pages.map(({ messages }) => messages.length),
      [40, 10],
    );
  });

  await check('newest first chooses the newest messages of a resource', async () => {
    const orderBy = { field: 'createdAt', direction: 'DESC' };
    const page = await list({ perPage: 4, orderBy });
    // Which way round they come is the client's choice; which ones, the deployment's.
    assert.deepEqual(
      numbers(page).sort((a, b) => a - b),
      [102, 104, 106, 108],
    );
  });

  await check('messages of a resource are filtered by date and metadata', async () => {
    const dateRange = { start: at(40), end: at(104) };
    assert.deepEqual(numbers(await list({ filter: { dateRange } })), [
      ...range(40, 45),
      100,
      102,
      104,
    ]);
    const both = await list({ filter: { dateRange, metadata: { even: true } } });
    assert.deepEqual(numbers(both), [40, 42, 44]);
  });

  await check('a resource without messages has an empty page', async () => {
    const page = await memory.listMessagesByResourceId({ resourceId: `${r}_absent` });
    assert.deepEqual(page, { messages: [], total: 0, page: 0, perPage: 40, hasMore: false });
  });

  await check('an impossible page of a resource is refused with an id', async () => {
    const error = await failure(list({ page: -1 }));
    assert.equal(error.id, BAD_PAGE);
  });
}

async function refusals({ memory, check, t, id }) {
  await check('a blank thread id is refused with an id', async () => {
    for (const threadId of ['', '  ', [], [t, '']]) {
      const error = await failure(memory.listMessages({ threadId }), 'threadId must be');
      assert.equal(error.id, BLANK_THREAD, JSON.stringify(threadId));
    }
  });

  await check('a negative page size is refused', async () => {
    await failure(memory.listMessages({ threadId: t, perPage: -1 }), 'perPage must be >= 0');
  });

  await check('metadata filters that cannot match are refused', async () => {
    const filtered = (metadata) => memory.listMessages({ threadId: t, filter: { metadata } });
    await failure(filtered({ 'no key': 1 }), 'Invalid metadata filter key "no key"');
    await failure(filtered({ key: {} }), 'Invalid metadata filter value for key "key"');
    await failure(filtered([id(0)]), 'Metadata filter must be an object');
  });
}
