// ConvexStore: observational memory, what is written to one record of it.
import assert from 'node:assert/strict';
import { assertNames, failure, outcome, range } from '../harness.mjs';
import { openMemory } from './adapters.mjs';
import { cyclesOf, Observer, present } from './observing.mjs';
import { at, idsOf } from './records.mjs';

export const name = 'observation_changes';

export async function run({ connection, namespace, check, tidy }) {
  const memory = await openMemory(connection);
  const observer = new Observer(memory, namespace);
  tidy(() => observer.clear());
  const context = { memory, observer, check };
  await active(context);
  await buffering(context);
  await flags(context);
  await configuration(context);
}

async function active({ memory, observer, check }) {
  const update = (id, changes) =>
    memory.updateActiveObservations({
      id,
      observations: 'she likes tea',
      tokenCount: 4,
      lastObservedAt: at(1),
      ...changes,
    });

  await check('active observations are replaced and counted', async () => {
    const record = await observer.begin('active');
    await memory.setPendingMessageTokens(record.id, 900);
    await update(record.id, { observedMessageIds: ['m1', 'm2'] });
    const { updatedAt, ...stored } = await observer.read(record);
    const { updatedAt: begun, ...expected } = present(record);
    assert.ok(updatedAt >= begun);
    assert.deepEqual(stored, {
      ...expected,
      activeObservations: 'she likes tea',
      observationTokenCount: 4,
      totalTokensObserved: 4,
      lastObservedAt: at(1),
      observedMessageIds: ['m1', 'm2'],
    });
  });

  await check('tokens observed add up, those of the text do not', async () => {
    const record = await observer.begin('adding');
    await update(record.id);
    await update(record.id, { observations: 'tea', tokenCount: 2.5, lastObservedAt: at(2) });
    const stored = await observer.read(record);
    assert.deepEqual(
      [stored.activeObservations, stored.observationTokenCount, stored.totalTokensObserved],
      ['tea', 2.5, 6.5],
    );
    assert.deepEqual(stored.lastObservedAt, at(2));
  });

  await check('the messages observed are those of the last update', async () => {
    const record = await observer.begin('messages');
    await update(record.id, { observedMessageIds: ['m1'] });
    await update(record.id, { observedMessageIds: ['m2', 'm3'] });
    assert.deepEqual((await observer.read(record)).observedMessageIds, ['m2', 'm3']);
    await update(record.id);
    assert.deepEqual((await observer.read(record)).observedMessageIds ?? [], []);
  });

  await check('a token count that is negative counts as none', async () => {
    const record = await observer.begin('negative');
    await update(record.id, { tokenCount: -5 });
    const stored = await observer.read(record);
    assert.deepEqual([stored.observationTokenCount, stored.totalTokensObserved], [0, 0]);
  });

  await check('observations of 300 KB come back whole', async () => {
    const record = await observer.begin('large');
    const observations = 'öäü 記憶\n'.repeat(20_000);
    await update(record.id, { observations });
    assert.equal((await observer.read(record)).activeObservations === observations, true);
  });
}

async function buffering({ memory, observer, check }) {
  await check('buffered chunks come back in order, with ids and dates', async () => {
    const record = await observer.begin('buffer');
    const before = Date.now();
    const given = [];
    for (const [n, label] of ['a', 'b', 'c'].entries()) {
      given.push(await observer.append(record, label, 100 * n, { lastObservedAt: at(n) }));
    }
    const { bufferedObservationChunks, ...rest } = await observer.read(record);
    const bare = bufferedObservationChunks.map(({ id, createdAt, ...members }) => {
      assert.ok(id.startsWith('ombuf-'));
      assert.ok(createdAt.getTime() >= before);
      return members;
    });
    assert.deepEqual(bare, given);
    assert.equal(new Set(idsOf(bufferedObservationChunks)).size, 3);
    const { updatedAt, ...expected } = present(record);
    assert.ok(rest.updatedAt >= updatedAt);
    assert.deepEqual({ ...rest, updatedAt }, { ...expected, updatedAt });
  });

  await check('every member of a chunk comes back', async () => {
    const record = await observer.begin('members');
    const given = await observer.append(record, 'a', 12.5, {
      tokenCount: 0,
      messageIds: [],
      suggestedContinuation: 'go on',
      currentTask: '',
      threadTitle: 'Grüße 👋',
      extractedValues: { n: 3, deep: { list: [1, null, 'ü', false] } },
      extractionFailures: [{ slug: 'dates', error: 'none found' }],
    });
    const [{ id, createdAt, ...stored }] = (await observer.read(record)).bufferedObservationChunks;
    assert.ok(id && createdAt);
    assert.deepEqual(stored, given);
  });

  await check('the buffered-at time is set when it is given', async () => {
    const record = await observer.begin('time');
    for (const [lastBufferedAtTime, expected] of [
      [undefined, null],
      [at(7), at(7)],
      [undefined, at(7)],
    ]) {
      await observer.append(record, 'a', 1, { lastBufferedAtTime });
      assert.deepEqual((await observer.read(record)).lastBufferedAtTime, expected);
    }
  });

  await check('chunks buffered at the same time are all kept', async () => {
    const record = await observer.begin('parallel');
    const labels = range(0, 20).map(String);
    await Promise.all(labels.map((label) => observer.append(record, label, 1)));
    const stored = cyclesOf((await observer.read(record)).bufferedObservationChunks);
    assert.deepEqual(
      stored.map(Number).sort((a, b) => a - b),
      range(0, 20),
    );
  });

  await check('an extracted value that Convex reserves is refused by name or kept', async () => {
    for (const member of ['$schema', 'ключ']) {
      const record = await observer.begin(`reserved_${member.length}`);
      const extractedValues = { [member]: 1 };
      const { refusal } = await outcome(observer.append(record, 'a', 1, { extractedValues }));
      if (refusal) assertNames(refusal, member);
      const { bufferedObservationChunks = [] } = await observer.read(record);
      assert.equal(bufferedObservationChunks.length, refusal ? 0 : 1);
    }
  });

  await check('the buffers of two memories are two', async () => {
    const [one, two] = [await observer.begin('one'), await observer.begin('two')];
    await observer.append(one, 'a', 1);
    assert.deepEqual(cyclesOf((await observer.read(two)).bufferedObservationChunks), []);
  });
}

async function flags({ memory, observer, check }) {
  await check('each flag is set and cleared by itself', async () => {
    const record = await observer.begin('flags');
    const setters = {
      isReflecting: (value) => memory.setReflectingFlag(record.id, value),
      isObserving: (value) => memory.setObservingFlag(record.id, value),
      isBufferingObservation: (value) => memory.setBufferingObservationFlag(record.id, value),
      isBufferingReflection: (value) => memory.setBufferingReflectionFlag(record.id, value),
    };
    for (const [flag, set] of Object.entries(setters)) {
      for (const value of [true, false]) {
        await set(value);
        const { updatedAt, ...stored } = await observer.read(record);
        const { updatedAt: begun, ...expected } = present(record);
        assert.ok(updatedAt >= begun);
        assert.deepEqual(stored, { ...expected, [flag]: value });
      }
    }
  });

  await check('buffering says at how many tokens it began', async () => {
    const record = await observer.begin('tokens');
    const set = (value, tokens) => memory.setBufferingObservationFlag(record.id, value, tokens);
    for (const [value, given, expected] of [
      [true, 5000, 5000],
      [false, undefined, 5000],
      [true, 0, 0],
    ]) {
      await set(value, given);
      const stored = await observer.read(record);
      assert.deepEqual(
        [stored.isBufferingObservation, stored.lastBufferedAtTokens],
        [value, expected],
      );
    }
  });

  await check('pending tokens are set, not added', async () => {
    const record = await observer.begin('pending');
    for (const tokens of [700, 20.5, 0]) {
      await memory.setPendingMessageTokens(record.id, tokens);
      assert.equal((await observer.read(record)).pendingMessageTokens, tokens);
    }
  });

  await check('a number of pending tokens that is none is refused', async () => {
    const record = await observer.begin('no_number');
    for (const tokens of [-1, Number.NaN, Number.POSITIVE_INFINITY]) {
      const error = await failure(memory.setPendingMessageTokens(record.id, tokens));
      assert.equal(error.id, 'MASTRA_STORAGE_CONVEX_SET_PENDING_MESSAGE_TOKENS_INVALID_INPUT');
      assert.equal(error.category, 'USER');
    }
    assert.equal((await observer.read(record)).pendingMessageTokens, 0);
  });
}

async function configuration({ memory, observer, check }) {
  const cases = [
    [{ a: 1 }, {}, { a: 1 }],
    [{ a: { b: 1, c: 2 } }, { a: { c: 3, d: 4 } }, { a: { b: 1, c: 3, d: 4 } }],
    [{ a: { b: { c: 1 } } }, { a: { b: { d: 2 } } }, { a: { b: { c: 1, d: 2 } } }],
    [{ a: [1, 2] }, { a: [3] }, { a: [3] }],
    [{ a: [{ b: 1 }] }, { a: [{ c: 1 }] }, { a: [{ c: 1 }] }],
    [{ a: { b: 1 } }, { a: null }, { a: null }],
    [{ a: null }, { a: { b: 1 } }, { a: { b: 1 } }],
    [{ a: { b: 1 } }, { a: 'text' }, { a: 'text' }],
    [{}, { $schema: { ключ: 0.5 } }, { $schema: { ключ: 0.5 } }],
  ];
  for (const [index, [stored, given, merged]] of cases.entries()) {
    const [from, to] = [stored, given].map((value) => JSON.stringify(value));
    await check(`configuration ${to} is merged into ${from}`, async () => {
      const record = await observer.begin(`config_${index}`, { config: stored });
      await memory.updateObservationalMemoryConfig({ id: record.id, config: given });
      const { updatedAt, ...rest } = await observer.read(record);
      const { updatedAt: begun, ...expected } = present(record);
      assert.ok(updatedAt >= begun);
      assert.deepEqual(rest, { ...expected, config: merged });
    });
  }

  await check('configurations merged at the same time all take effect', async () => {
    const record = await observer.begin('config_parallel');
    const merge = (n) =>
      memory.updateObservationalMemoryConfig({ id: record.id, config: { deep: { [`k${n}`]: n } } });
    await Promise.all(range(0, 15).map(merge));
    const deep = Object.fromEntries(range(0, 15).map((n) => [`k${n}`, n]));
    assert.deepEqual((await observer.read(record)).config, { deep });
  });
}
