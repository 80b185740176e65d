// ConvexStore: observational memory, its records and their history.
import assert from 'node:assert/strict';
import { callStorage, failure, range } from '../harness.mjs';
import { openMemory } from './adapters.mjs';
import { chunk, cyclesOf, Observer, present } from './observing.mjs';
import { at, idsOf, removeMemory, thread } from './records.mjs';

export const name = 'observations';

const TABLE = 'mastra_observational_memory';

export async function run({ connection, namespace, check, tidy }) {
  const memory = await openMemory(connection);
  const observer = new Observer(memory, namespace);
  tidy(() => observer.clear());
  const context = { connection, memory, observer, check, tidy };
  await beginning(context);
  await wholeRecords(context);
  await history(context);
  await ending(context);
  await refusals(context);
}

/** A record as it begins, apart from what tells it from others. */
const EMPTY = {
  originType: 'initial',
  generationCount: 0,
  activeObservations: '',
  totalTokensObserved: 0,
  observationTokenCount: 0,
  pendingMessageTokens: 0,
  isReflecting: false,
  isObserving: false,
  isBufferingObservation: false,
  isBufferingReflection: false,
  lastBufferedAtTokens: 0,
  lastBufferedAtTime: null,
};

async function beginning({ memory, observer, check }) {
  await check('the adapter says that it has observational memory', async () => {
    assert.equal(memory.supportsObservationalMemory, true);
  });

  await check('a memory that does not exist is null', async () => {
    const { threadId, resourceId } = observer.fresh('none');
    assert.equal(await memory.getObservationalMemory(threadId, resourceId), null);
    assert.equal(await memory.getObservationalMemory(null, resourceId), null);
    assert.deepEqual(await memory.getObservationalMemoryHistory(threadId, resourceId), []);
  });

  await check('the memory of a thread begins empty', async () => {
    const config = {
      observation: { messageTokens: 30_000, model: '$model' },
      schlüssel: [1, null],
    };
    const before = Date.now();
    const record = await observer.begin('begin', { config, observedTimezone: 'Europe/Berlin' });
    const { id, createdAt, updatedAt, ...rest } = present(record);
    assert.ok(id);
    assert.ok(createdAt.getTime() >= before);
    assert.deepEqual(updatedAt, createdAt);
    const { threadId, resourceId } = observer.fresh('begin');
    const expected = { ...EMPTY, threadId, resourceId, scope: 'thread', config };
    assert.deepEqual(rest, { ...expected, observedTimezone: 'Europe/Berlin' });
    assert.deepEqual(await observer.read(record), present(record));
  });

  await check('the memory of a resource begins empty', async () => {
    const record = await observer.begin('resource', { scope: 'resource' });
    assert.deepEqual([record.scope, record.threadId], ['resource', null]);
    assert.deepEqual(await observer.read(record), present(record));
  });

  await check('a thread and its resource have memories of their own', async () => {
    const ofThread = await observer.begin('both');
    const ofResource = await observer.begin('both', { scope: 'resource' });
    assert.notEqual(ofThread.id, ofResource.id);
    assert.equal((await observer.read(ofThread)).id, ofThread.id);
    assert.equal((await observer.read(ofResource)).id, ofResource.id);
  });

  await check('the memory of a thread is found by the thread alone', async () => {
    const { id, threadId } = await observer.begin('alone');
    assert.equal((await memory.getObservationalMemory(threadId, 'somebody else')).id, id);
  });

  await check('an empty thread id names the memory of the resource', async () => {
    const { id, resourceId } = await observer.begin('blank', { scope: 'resource' });
    assert.equal((await memory.getObservationalMemory('', resourceId)).id, id);
  });

  await check('of two beginnings the later one counts, and both are kept', async () => {
    const first = await observer.begin('twice');
    const second = await observer.begin('twice');
    assert.equal((await observer.read(first)).id, second.id);
    assert.deepEqual(idsOf(await observer.history(first)), [second.id, first.id]);
  });
}

async function wholeRecords({ connection, memory, observer, check }) {
  const whole = (label) => {
    const ids = observer.fresh(label);
    return {
      ...ids,
      id: `${ids.resourceId}_record`,
      scope: 'thread',
      createdAt: at(1),
      updatedAt: at(2),
      lastObservedAt: at(3),
      originType: 'reflection',
      generationCount: 7,
      activeObservations: 'erste Zeile 👋\nzweite',
      bufferedObservationChunks: [
        {
          ...chunk('c1', 12.5, { messageIds: [], currentTask: 'tea', threadTitle: 'Tea' }),
          id: 'ombuf-1',
          createdAt: at(4),
          extractedValues: { deep: { list: [1, null, 'x'] } },
          extractionFailures: [{ slug: 'dates', error: 'none' }],
        },
        { ...chunk('c2', 0), id: 'ombuf-2', createdAt: at(5) },
      ],
      bufferedReflection: 'waiting',
      bufferedReflectionTokens: 5,
      bufferedReflectionInputTokens: 6,
      reflectedObservationLineCount: 1,
      totalTokensObserved: 70,
      observationTokenCount: 8,
      pendingMessageTokens: 9,
      isReflecting: true,
      isObserving: true,
      isBufferingObservation: true,
      isBufferingReflection: true,
      lastBufferedAtTokens: 10,
      lastBufferedAtTime: at(6),
      config: { a: { $b: [1, null] } },
      metadata: { ключ: true },
      observedMessageIds: ['m1', 'm2'],
      observedTimezone: 'Asia/Tokyo',
    };
  };

  await check('a record that is inserted whole comes back as it was', async () => {
    const record = whole('whole');
    await memory.insertObservationalMemoryRecord(record);
    assert.deepEqual(await observer.read(record), record);
  });

  await check('inserting a record again overwrites it', async () => {
    const record = whole('overwritten');
    await memory.insertObservationalMemoryRecord(record);
    const changed = { ...record, activeObservations: 'changed', isObserving: false, metadata: {} };
    await memory.insertObservationalMemoryRecord(changed);
    assert.deepEqual(await observer.read(record), changed);
    assert.equal((await observer.history(record)).length, 1);
  });

  await check('a record without a buffer has none', async () => {
    const record = { ...whole('bare'), bufferedObservationChunks: undefined };
    await memory.insertObservationalMemoryRecord(record);
    assert.deepEqual((await observer.read(record)).bufferedObservationChunks ?? [], []);
    assert.equal((await observer.swap(record)).chunksActivated, 0);
  });

  await check('counts of zero that may be absent read as absent', async () => {
    const zero = { bufferedReflectionTokens: 0, bufferedReflectionInputTokens: 0 };
    const record = { ...whole('zero'), ...zero, reflectedObservationLineCount: 0 };
    await memory.insertObservationalMemoryRecord(record);
    const stored = await observer.read(record);
    for (const member of [...Object.keys(zero), 'reflectedObservationLineCount']) {
      assert.equal(stored[member], undefined);
    }
  });

  await check('broken text in a row reads as nothing', async () => {
    const record = await observer.begin('broken', { config: { a: 1 } });
    const broken = { bufferedObservationChunks: '{"a":', metadata: null };
    await callStorage(connection, { op: 'patch', tableName: TABLE, id: record.id, record: broken });
    const stored = await observer.read(record);
    assert.deepEqual(stored.bufferedObservationChunks ?? [], []);
    assert.equal(stored.metadata, undefined);
    await observer.append(record, 'a', 1);
    assert.deepEqual(cyclesOf((await observer.read(record)).bufferedObservationChunks), ['a']);
  });
}

async function history({ memory, observer, check }) {
  const { threadId, resourceId } = observer.fresh('history');
  const first = { ...EMPTY, threadId, resourceId, scope: 'thread', config: {} };
  for (const n of range(0, 12)) {
    await memory.insertObservationalMemoryRecord({
      ...first,
      id: `${resourceId}_${n}`,
      generationCount: n,
      createdAt: at(n),
      updatedAt: at(n),
    });
  }
  const generations = async (limit, options) =>
    (await observer.history(first, limit, options)).map(({ generationCount }) => generationCount);

  await check('the newest generation is the current one', async () => {
    assert.equal((await observer.read(first)).generationCount, 11);
  });

  await check('the history is ten generations, the newest first', async () => {
    assert.deepEqual(await generations(), range(2, 12).reverse());
  });

  await check('the history has as many generations as asked for', async () => {
    assert.deepEqual(await generations(3), [11, 10, 9]);
    assert.deepEqual(await generations(100), range(0, 12).reverse());
    assert.deepEqual(await generations(0), []);
  });

  await check('the history goes on from an offset', async () => {
    assert.deepEqual(await generations(3, { offset: 2 }), [9, 8, 7]);
    assert.deepEqual(await generations(3, { offset: 11 }), [0]);
    assert.deepEqual(await generations(3, { offset: 12 }), []);
  });

  await check('the history is cut by dates, both ends included', async () => {
    assert.deepEqual(await generations(10, { from: at(9) }), [11, 10, 9]);
    assert.deepEqual(await generations(10, { to: at(2) }), [2, 1, 0]);
    assert.deepEqual(await generations(10, { from: at(3), to: at(5) }), [5, 4, 3]);
    assert.deepEqual(await generations(10, { from: at(20) }), []);
    assert.deepEqual(await generations(2, { from: at(3), to: at(8), offset: 1 }), [7, 6]);
  });

  await check('the history of another memory is another', async () => {
    const other = await observer.begin('history_other');
    assert.deepEqual(idsOf(await observer.history(other)), [other.id]);
    assert.deepEqual(await memory.getObservationalMemoryHistory(null, resourceId), []);
  });
}

async function ending({ connection, memory, observer, check, tidy }) {
  await check('clearing removes every generation of a memory and no other', async () => {
    const record = await observer.begin('clear');
    const ofResource = await observer.begin('clear', { scope: 'resource' });
    for (const n of range(0, 30)) {
      const next = { ...record, id: `${record.id}_${n}`, generationCount: n + 1 };
      await memory.insertObservationalMemoryRecord(next);
    }
    await memory.clearObservationalMemory(record.threadId, record.resourceId);
    assert.equal(await memory.getObservationalMemory(record.threadId, record.resourceId), null);
    assert.deepEqual(await observer.history(record), []);
    assert.equal((await observer.read(ofResource)).id, ofResource.id);
  });

  await check('clearing what is not there is fine', async () => {
    const { threadId, resourceId } = observer.fresh('nothing');
    await memory.clearObservationalMemory(threadId, resourceId);
    await memory.clearObservationalMemory(null, resourceId);
  });

  await check('a memory can begin again after it was cleared', async () => {
    const record = await observer.begin('again');
    await memory.clearObservationalMemory(record.threadId, record.resourceId);
    const again = await observer.begin('again');
    assert.notEqual(again.id, record.id);
    assert.deepEqual(await observer.read(record), present(again));
  });

  await check('the memory of a thread does not go with the thread', async () => {
    const record = await observer.begin('thread');
    tidy(() => removeMemory(connection, [record.resourceId]));
    await memory.saveThread({ thread: thread(record.threadId, record.resourceId) });
    await memory.deleteThread({ threadId: record.threadId });
    assert.equal((await observer.read(record)).id, record.id);
  });
}

async function refusals({ connection, memory, observer, check }) {
  await check('whatever is done to a record that does not exist is refused', async () => {
    const record = await observer.begin('absent');
    const id = `${record.id}_absent`;
    const work = [
      () =>
        memory.updateActiveObservations({
          id,
          observations: 'x',
          tokenCount: 1,
          lastObservedAt: at(1),
        }),
      () => observer.append({ id }, 'a', 1),
      () => observer.swap({ id }),
      () =>
        memory.updateBufferedReflection({
          id,
          reflection: 'r',
          tokenCount: 1,
          inputTokenCount: 1,
          reflectedObservationLineCount: 0,
        }),
      () =>
        memory.swapBufferedReflectionToActive({ currentRecord: { ...record, id }, tokenCount: 1 }),
      () => memory.updateObservationalMemoryConfig({ id, config: {} }),
    ];
    for (const attempt of work) {
      await failure(attempt(), `Observational memory record not found: ${id}`);
    }
    assert.deepEqual(idsOf(await observer.history(record)), [record.id]);
  });

  await check('flags of a record that does not exist are refused with an id', async () => {
    const id = `${observer.namespace}_nobody`;
    const work = {
      SET_REFLECTING_FLAG: () => memory.setReflectingFlag(id, true),
      SET_OBSERVING_FLAG: () => memory.setObservingFlag(id, true),
      SET_BUFFERING_OBSERVATION_FLAG: () => memory.setBufferingObservationFlag(id, true, 5),
      SET_BUFFERING_REFLECTION_FLAG: () => memory.setBufferingReflectionFlag(id, true),
      SET_PENDING_MESSAGE_TOKENS: () => memory.setPendingMessageTokens(id, 5),
    };
    for (const [operation, attempt] of Object.entries(work)) {
      const error = await failure(attempt(), `Observational memory record not found: ${id}`);
      assert.equal(error.id, `MASTRA_STORAGE_CONVEX_${operation}_NOT_FOUND`);
      assert.equal(error.category, 'THIRD_PARTY');
    }
  });

  await check('operations of observational memory belong to its table', async () => {
    const operations = [
      'omGetLatest',
      'omGetHistory',
      'omUpdateActive',
      'omAppendBufferedChunk',
      'omSwapBuffered',
      'omUpdateBufferedReflection',
      'omSwapBufferedReflection',
      'omUpdateConfig',
    ];
    for (const op of operations) {
      const elsewhere = (tableName) => callStorage(connection, { op, tableName, id: 'x' });
      await failure(elsewhere('mastra_threads'), `${op} is only supported for ${TABLE}`);
      await failure(elsewhere('mastra_elsewhere'), `Unsupported operation ${op}`);
    }
  });
}
