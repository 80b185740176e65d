// ConvexStore: observational memory, what begins a new generation.
import assert from 'node:assert/strict';
import { failure, range } from '../harness.mjs';
import { openMemory } from './adapters.mjs';
import { Observer, present } from './observing.mjs';
import { at, idsOf } from './records.mjs';

export const name = 'observation_reflections';

export async function run({ connection, namespace, check, tidy }) {
  const memory = await openMemory(connection);
  const observer = new Observer(memory, namespace);
  tidy(() => observer.clear());
  const context = { memory, observer, check };
  await reflecting(context);
  await bufferedReflections(context);
}

async function reflecting({ memory, observer, check }) {
  await check('a reflection begins the next generation', async () => {
    const config = { a: { b: 1 } };
    const begun = await observer.begin('reflect', { config, observedTimezone: 'Asia/Tokyo' });
    await memory.updateActiveObservations({
      id: begun.id,
      observations: 'long\ntext',
      tokenCount: 30,
      lastObservedAt: at(3),
      observedMessageIds: ['m1'],
    });
    await memory.setPendingMessageTokens(begun.id, 12);
    const before = await observer.read(begun);
    const currentRecord = { ...before, metadata: { k: 1 } };
    const given = { currentRecord, reflection: 'short', tokenCount: 5 };
    const created = present(await memory.createReflectionGeneration(given));
    const { id, createdAt, updatedAt, ...rest } = created;
    assert.notEqual(id, before.id);
    assert.deepEqual(updatedAt, createdAt);
    assert.ok(createdAt >= before.createdAt);
    assert.deepEqual(rest, {
      threadId: begun.threadId,
      resourceId: begun.resourceId,
      scope: 'thread',
      originType: 'reflection',
      generationCount: 1,
      activeObservations: 'short',
      totalTokensObserved: 30,
      observationTokenCount: 5,
      pendingMessageTokens: 0,
      isReflecting: false,
      isObserving: false,
      isBufferingObservation: false,
      isBufferingReflection: false,
      lastBufferedAtTokens: 0,
      lastBufferedAtTime: null,
      lastObservedAt: at(3),
      config,
      metadata: { k: 1 },
      observedTimezone: 'Asia/Tokyo',
    });
    assert.deepEqual(await observer.read(begun), created);
    assert.deepEqual(present((await observer.history(begun))[1]), before);
  });

  await check('generations follow one another', async () => {
    let record = await observer.begin('line');
    for (const n of range(1, 4)) {
      const given = { currentRecord: record, reflection: `text ${n}`, tokenCount: n };
      record = await memory.createReflectionGeneration(given);
      assert.equal(record.generationCount, n);
    }
    const generations = await observer.history(record);
    assert.deepEqual(
      generations.map(({ activeObservations }) => activeObservations),
      ['text 3', 'text 2', 'text 1', ''],
    );
  });
}

async function bufferedReflections({ memory, observer, check }) {
  const reflect = (id, reflection, reflectedObservationLineCount) =>
    memory.updateBufferedReflection({
      id,
      reflection,
      tokenCount: 3,
      inputTokenCount: 30,
      reflectedObservationLineCount,
    });
  const observed = async (label, observations) => {
    const record = await observer.begin(label, { config: { a: 1 }, observedTimezone: 'UTC' });
    const update = { id: record.id, observations, tokenCount: 40, lastObservedAt: at(3) };
    await memory.updateActiveObservations(update);
    return record;
  };

  await check('reflections that are buffered add up', async () => {
    const record = await observed('buffered', 'a\nb\nc');
    await reflect(record.id, 'first', 2);
    await reflect(record.id, 'second', 3);
    const stored = await observer.read(record);
    assert.deepEqual(
      [
        stored.bufferedReflection,
        stored.bufferedReflectionTokens,
        stored.bufferedReflectionInputTokens,
        stored.reflectedObservationLineCount,
      ],
      ['first\n\nsecond', 6, 60, 3],
    );
    assert.equal(stored.activeObservations, 'a\nb\nc');
  });

  await check('a swapped reflection begins the next generation', async () => {
    const record = await observed('swapped', 'a\nb\nc\nd');
    await observer.append(record, 'waits', 1);
    await reflect(record.id, 'ab', 2);
    const before = await observer.read(record);
    const given = { currentRecord: before, tokenCount: 9 };
    const swapped = present(await memory.swapBufferedReflectionToActive(given));
    const { id, createdAt, updatedAt, ...rest } = swapped;
    assert.deepEqual(updatedAt, createdAt);
    assert.deepEqual(rest, {
      threadId: record.threadId,
      resourceId: record.resourceId,
      scope: 'thread',
      originType: 'reflection',
      generationCount: 1,
      activeObservations: 'ab\n\nc\nd',
      totalTokensObserved: 40,
      observationTokenCount: 9,
      pendingMessageTokens: 0,
      isReflecting: false,
      isObserving: false,
      isBufferingObservation: false,
      isBufferingReflection: false,
      lastBufferedAtTokens: 0,
      lastBufferedAtTime: null,
      lastObservedAt: at(3),
      config: { a: 1 },
      observedTimezone: 'UTC',
    });
    assert.deepEqual(await observer.read(record), swapped);
    const old = present((await observer.history(record))[1]);
    const {
      bufferedReflection,
      bufferedReflectionTokens,
      bufferedReflectionInputTokens,
      reflectedObservationLineCount,
      ...expected
    } = before;
    assert.equal(bufferedReflection, 'ab');
    assert.deepEqual(old, { ...expected, updatedAt: createdAt });
    assert.notEqual(id, old.id);
  });

  const lines = [
    ['a\nb\nc', 0, 'R\n\na\nb\nc'],
    ['a\nb\nc', 1, 'R\n\nb\nc'],
    ['a\nb\nc', 3, 'R'],
    ['a\nb\nc', 99, 'R'],
    ['a\n\n\nb\n\n', 1, 'R\n\nb'],
    ['a\n \t\n', 1, 'R'],
    ['', 0, 'R'],
  ];
  for (const [index, [text, covered, expected]] of lines.entries()) {
    await check(
      `of ${JSON.stringify(text)} a reflection of ${covered} lines leaves the rest`,
      async () => {
        const record = await observed(`lines_${index}`, text);
        await reflect(record.id, 'R', covered);
        const given = { currentRecord: await observer.read(record), tokenCount: 1 };
        const swapped = await memory.swapBufferedReflectionToActive(given);
        assert.equal(swapped.activeObservations, expected);
      },
    );
  }

  await check('the next generation takes over what its caller had read', async () => {
    const record = await observed('carried', 'a');
    await reflect(record.id, 'A', 1);
    const read = await observer.read(record);
    await memory.updateObservationalMemoryConfig({ id: record.id, config: { later: true } });
    const currentRecord = { ...read, metadata: { mine: 1 } };
    const swapped = await memory.swapBufferedReflectionToActive({ currentRecord, tokenCount: 1 });
    assert.deepEqual([swapped.config, swapped.metadata], [{ a: 1 }, { mine: 1 }]);
  });

  await check('without a buffered reflection there is nothing to swap', async () => {
    const record = await observed('unreflected', 'a');
    const given = { currentRecord: await observer.read(record), tokenCount: 1 };
    await failure(memory.swapBufferedReflectionToActive(given), 'No buffered reflection to swap');
    assert.deepEqual(idsOf(await observer.history(record)), [record.id]);
  });

  await check('of swaps at the same time one begins a generation', async () => {
    const record = await observed('once', 'a\nb');
    await reflect(record.id, 'ab', 2);
    const given = { currentRecord: await observer.read(record), tokenCount: 1 };
    const swaps = range(0, 5).map(() => memory.swapBufferedReflectionToActive(given));
    const outcomes = await Promise.allSettled(swaps);
    assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1);
    assert.equal((await observer.history(record)).length, 2);
  });
}
