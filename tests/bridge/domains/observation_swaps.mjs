// ConvexStore: observational memory, what becomes active and what waits on.
import assert from 'node:assert/strict';
import { range } from '../harness.mjs';
import { openMemory } from './adapters.mjs';
import { cyclesOf, Observer, present, times } from './observing.mjs';
import { at } from './records.mjs';

export const name = 'observation_swaps';

const NOTHING = {
  chunksActivated: 0,
  messageTokensActivated: 0,
  observationTokensActivated: 0,
  messagesActivated: 0,
  activatedCycleIds: [],
  activatedMessageIds: [],
};

export async function run({ connection, namespace, check, tidy }) {
  const memory = await openMemory(connection);
  const observer = new Observer(memory, namespace);
  tidy(() => observer.clear());
  const context = { memory, observer, check };
  await activating(context);
  await boundaries(context);
  await freshChunks(context);
  await atTheSameTime(context);
}

const waiting = async (observer, record) =>
  cyclesOf((await observer.read(record)).bufferedObservationChunks);

async function activating({ memory, observer, check }) {
  await check('swapping an empty buffer activates and changes nothing', async () => {
    const record = await observer.begin('empty');
    assert.deepEqual(await observer.swap(record), NOTHING);
    assert.deepEqual(await observer.read(record), present(record));
  });

  await check('a swap tells what it activated, chunk by chunk', async () => {
    const record = await observer.begin('whole');
    await observer.append(record, 'a', 300, { messageIds: ['m1', 'm2'], tokenCount: 7 });
    await observer.append(record, 'b', 400, { messageIds: ['m3'], tokenCount: 8.5 });
    assert.deepEqual(await observer.swap(record), {
      chunksActivated: 2,
      messageTokensActivated: 700,
      observationTokensActivated: 15.5,
      messagesActivated: 3,
      activatedCycleIds: ['a', 'b'],
      activatedMessageIds: ['m1', 'm2', 'm3'],
      observations: 'observed <a>\n\nobserved <b>',
      perChunk: [
        {
          cycleId: 'a',
          messageTokens: 300,
          observationTokens: 7,
          messageCount: 2,
          observations: 'observed <a>',
        },
        {
          cycleId: 'b',
          messageTokens: 400,
          observationTokens: 8.5,
          messageCount: 1,
          observations: 'observed <b>',
        },
      ],
    });
    assert.deepEqual(await observer.swap(record), NOTHING);
  });

  await check('a swap changes the text, its tokens, its date and the buffer only', async () => {
    const record = await observer.begin('changes', { config: { a: 1 } });
    await memory.updateActiveObservations({
      id: record.id,
      observations: 'before',
      tokenCount: 3,
      lastObservedAt: at(0),
      observedMessageIds: ['m0'],
    });
    await memory.setPendingMessageTokens(record.id, 1000);
    await observer.append(record, 'a', 300, { lastObservedAt: at(5) });
    const { updatedAt: begun, bufferedObservationChunks, ...before } = await observer.read(record);
    assert.equal(bufferedObservationChunks.length, 1);
    await observer.swap(record);
    const { updatedAt, ...after } = await observer.read(record);
    assert.ok(updatedAt >= begun);
    assert.deepEqual(after, {
      ...before,
      activeObservations:
        'before\n\n--- message boundary (2025-01-31T12:05:00.000Z) ---\n\nobserved <a>',
      observationTokenCount: 13,
      pendingMessageTokens: 700,
      lastObservedAt: at(5),
    });
  });

  await check('chunks that are not activated stay in the buffer as they were', async () => {
    const record = await observer.begin('part');
    for (const label of ['a', 'b', 'c']) await observer.append(record, label, 600);
    const { bufferedObservationChunks } = await observer.read(record);
    const swapped = await observer.swap(record, {
      activationRatio: 0.5,
      currentPendingTokens: 1100,
    });
    assert.deepEqual(swapped.activatedCycleIds, ['a']);
    const left = (await observer.read(record)).bufferedObservationChunks;
    assert.deepEqual(left, bufferedObservationChunks.slice(1));
  });

  await check('the first activated text stands alone, the next after a boundary', async () => {
    const record = await observer.begin('text');
    await observer.append(record, 'a', 1, { lastObservedAt: at(1) });
    await observer.swap(record);
    assert.equal((await observer.read(record)).activeObservations, 'observed <a>');
    await observer.append(record, 'b', 1, { lastObservedAt: at(2) });
    await observer.append(record, 'c', 1, { lastObservedAt: at(3) });
    await observer.swap(record);
    assert.equal(
      (await observer.read(record)).activeObservations,
      'observed <a>\n\n--- message boundary (2025-01-31T12:03:00.000Z) ---\n\n' +
        'observed <b>\n\nobserved <c>',
    );
  });

  await check('a swap observes up to the date it is given', async () => {
    const record = await observer.begin('date');
    await observer.append(record, 'a', 1);
    await observer.swap(record, { lastObservedAt: at(50) });
    assert.deepEqual((await observer.read(record)).lastObservedAt, at(50));
  });

  await check('pending tokens never fall below zero', async () => {
    const record = await observer.begin('pending');
    await memory.setPendingMessageTokens(record.id, 100);
    await observer.append(record, 'a', 600);
    await observer.swap(record);
    assert.equal((await observer.read(record)).pendingMessageTokens, 0);
  });

  await check('a swap passes on the hints of its last chunk', async () => {
    const record = await observer.begin('hints');
    const hints = { suggestedContinuation: 'go on', currentTask: 'tea' };
    await observer.append(record, 'a', 1, hints);
    await observer.append(record, 'b', 1);
    const without = await observer.swap(record);
    assert.deepEqual([without.suggestedContinuation, without.currentTask], [undefined, undefined]);
    await observer.append(record, 'c', 1);
    await observer.append(record, 'd', 1, hints);
    const hinted = await observer.swap(record);
    assert.deepEqual([hinted.suggestedContinuation, hinted.currentTask], ['go on', 'tea']);
  });

  await check('a chunk without a cycle id is activated without one', async () => {
    const record = await observer.begin('cycle');
    await observer.append(record, '', 1);
    const swapped = await observer.swap(record);
    assert.deepEqual([swapped.chunksActivated, swapped.activatedCycleIds], [1, []]);
  });
}

async function boundaries({ observer, check }) {
  // Message tokens of the chunks; ratio, threshold, pending, forced; chunks to activate.
  const cases = [
    [[700, 700], 0, 1000, 1400, false, 1],
    [[600, 300, 300], 0.8, 1000, 1100, false, 2],
    [[100, 100, 5000], 0.5, 1000, 1000, false, 2],
    [[5000], 0.5, 1000, 1000, false, 1],
    [[300, 600], 0.5, 1000, 1300, false, 1],
    [[300, 500], 0.5, 1000, 1300, false, 2],
    [[1000, 97_400], 0.5, 100_000, 100_000, false, 1],
    [[1000, 97_400], 0.5, 100_000, 100_000, true, 2],
    [[400, 400, 400], 1, 1000, 0, false, 1],
    [[0, 0], 1, 1000, 500, false, 1],
    [[100, 100, 5000], 0.5, 1000, 6000, true, 3],
    [[100, 0, 50_000], 0.5, 1000, 1000, false, 1],
    [[600, 0, 0], 0.5, 1000, 1000, false, 1],
    [[975, 10], 0.5, 1000, 1000, false, 1],
    [[2000, 2000, 2000], 0.8, 10_000, 8000, false, 3],
    [[2000, 2000, 2000], 0.8, 10_000, 4000, false, 1],
    [[5000, 5000, 5000, 5000], 0.8, 20_000, 20_000, false, 3],
    [[5000, 5000, 5000, 5000], 0.8, 20_000, 20_000, true, 3],
  ];
  for (const [index, given] of cases.entries()) {
    const [tokens, activationRatio, threshold, pending, forced, count] = given;
    const how = `${activationRatio} of ${threshold} with ${pending}${forced ? ', forced' : ''}`;
    await check(`of chunks ${tokens.join(', ')} at ${how}, ${count} become active`, async () => {
      const record = await observer.begin(`boundary_${index}`);
      for (const [n, each] of tokens.entries()) await observer.append(record, `${n}`, each);
      const swapped = await observer.swap(record, {
        activationRatio,
        messageTokensThreshold: threshold,
        currentPendingTokens: pending,
        ...(forced ? { forceMaxActivation: true } : {}),
      });
      const labels = range(0, tokens.length).map(String);
      assert.deepEqual(swapped.activatedCycleIds, labels.slice(0, count));
      assert.deepEqual(await waiting(observer, record), labels.slice(count));
    });
  }
}

async function freshChunks({ memory, observer, check }) {
  await check('a swap decides by the token counts that it is given', async () => {
    const record = await observer.begin('fresh');
    await memory.setPendingMessageTokens(record.id, 5000);
    for (const label of ['a', 'b']) await observer.append(record, label, 100);
    const { bufferedObservationChunks } = await observer.read(record);
    const fresh = bufferedObservationChunks.map((each) => ({ ...each, messageTokens: 600 }));
    const swapped = await observer.swap(record, {
      activationRatio: 0.5,
      currentPendingTokens: 1100,
      bufferedChunks: fresh,
    });
    assert.deepEqual(swapped.activatedCycleIds, ['a']);
    assert.equal(swapped.messageTokensActivated, 600);
    const stored = await observer.read(record);
    assert.equal(stored.pendingMessageTokens, 4400);
    assert.deepEqual(stored.bufferedObservationChunks, fresh.slice(1));
  });

  await check('with no chunks given a swap activates nothing', async () => {
    const record = await observer.begin('none_given');
    await observer.append(record, 'a', 100);
    assert.deepEqual(await observer.swap(record, { bufferedChunks: [] }), NOTHING);
    assert.deepEqual(await waiting(observer, record), ['a']);
  });

  await check('chunks given for an empty buffer are not activated', async () => {
    const record = await observer.begin('all_gone');
    await observer.append(record, 'a', 100);
    const { bufferedObservationChunks } = await observer.read(record);
    await observer.swap(record);
    const again = await observer.swap(record, { bufferedChunks: bufferedObservationChunks });
    assert.deepEqual(again, NOTHING);
    assert.equal((await observer.read(record)).activeObservations, 'observed <a>');
  });
}

async function atTheSameTime({ observer, check }) {
  await check('chunks and swaps at the same time lose nothing and repeat nothing', async () => {
    const record = await observer.begin('race');
    const labels = range(0, 15).map(String);
    const options = { activationRatio: 0.5, currentPendingTokens: 1100 };
    const swaps = [];
    await Promise.all(
      labels.flatMap((label) => [
        observer.append(record, label, 400),
        observer.swap(record, options).then((swapped) => swaps.push(swapped)),
      ]),
    );
    const stored = await observer.read(record);
    const active = swaps.flatMap(({ activatedCycleIds }) => activatedCycleIds);
    const left = cyclesOf(stored.bufferedObservationChunks);
    assert.deepEqual(
      [...active, ...left].map(Number).sort((a, b) => a - b),
      range(0, 15),
    );
    for (const label of labels) {
      const expected = active.includes(label) ? 1 : 0;
      assert.equal(times(stored.activeObservations, `observed <${label}>`), expected);
    }
    assert.equal(stored.observationTokenCount, 10 * active.length);
  });
}
