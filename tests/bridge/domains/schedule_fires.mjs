// ConvexStore: claiming the fires of schedules, and their history.
import assert from 'node:assert/strict';
import { failure, range } from '../harness.mjs';
import { openSchedules } from './scheduling.mjs';

export const name = 'schedule_fires';

export async function run({ connection, namespace, check, tidy }) {
  const context = { ...(await openSchedules({ connection, namespace, tidy })), check };
  await claiming(context);
  await recording(context);
  await history(context);
  await deleting(context);
}

async function claiming({ schedules, schedule, create, check }) {
  const claim = (id, expected, runId = 'run', next = expected + 1000) =>
    schedules.updateScheduleNextFire(id, expected, next, expected + 1, runId);

  await check('a claimed fire moves the schedule on and says what it fired', async () => {
    const begun = await create(schedule('claim', { nextFireAt: -100 }));
    const before = Date.now();
    assert.equal(await claim(begun.id, -100), true);
    const { updatedAt, ...found } = await schedules.getSchedule(begun.id);
    const { updatedAt: _, ...expected } = begun;
    const moved = { ...expected, nextFireAt: 900, lastFireAt: -99, lastRunId: 'run' };
    assert.deepEqual(found, moved);
    // The deployment's clock stamps it.
    assert.ok(updatedAt > before - 60_000);
    assert.equal(await claim(begun.id, 900, 'next'), true);
    assert.equal((await schedules.getSchedule(begun.id)).lastRunId, 'next');
  });

  await check('a fire that was claimed is not claimed again', async () => {
    const { id } = await create(schedule('second', { nextFireAt: 1000 }));
    assert.equal(await claim(id, 1000, 'first'), true);
    assert.equal(await claim(id, 1000, 'second'), false);
    const found = await schedules.getSchedule(id);
    assert.deepEqual([found.lastRunId, found.nextFireAt], ['first', 2000]);
  });

  await check('a fire of a schedule that is paused is not claimed', async () => {
    const paused = await create(schedule('paused', { nextFireAt: 1000, status: 'paused' }));
    assert.equal(await claim(paused.id, 1000), false);
    assert.deepEqual(await schedules.getSchedule(paused.id), paused);
  });

  await check('a fire at another time, or of no schedule, is not claimed', async () => {
    const begun = await create(schedule('other', { nextFireAt: 1000 }));
    assert.equal(await claim(begun.id, 999), false);
    assert.equal(await claim(begun.id, 1000.5), false);
    assert.deepEqual(await schedules.getSchedule(begun.id), begun);
    assert.equal(await claim(schedule('none').id, 1000), false);
  });

  await check('of many who claim one fire at the same time exactly one gets it', async () => {
    const { id } = await create(schedule('contested', { nextFireAt: 1000 }));
    const claims = await Promise.all(range(0, 20).map((n) => claim(id, 1000, `run${n}`)));
    assert.equal(claims.filter(Boolean).length, 1);
    const { lastRunId } = await schedules.getSchedule(id);
    assert.equal(lastRunId, `run${claims.indexOf(true)}`);
  });

  await check('schedulers that claim what is due fire each schedule exactly once', async () => {
    const begun = range(0, 40).map((n) => schedule(`due_${n}`, { nextFireAt: -20_000 + n }));
    await create(...begun);
    const scheduler = async (number) => {
      const fired = [];
      for (const each of await schedules.listDueSchedules(-19_000)) {
        if (await claim(each.id, each.nextFireAt, `s${number}`, 4102444800000)) fired.push(each.id);
      }
      return fired;
    };
    const fired = (await Promise.all(range(0, 4).map(scheduler))).flat();
    assert.deepEqual(fired.sort(), begun.map(({ id }) => id).sort());
    assert.deepEqual(await schedules.listDueSchedules(-19_000), []);
  });
}

async function recording({ schedules, schedule, check }) {
  await check('a recorded trigger comes back as it was', async () => {
    const scheduleId = schedule('record').id;
    const full = {
      id: `${scheduleId}_full`,
      scheduleId,
      runId: 'run',
      scheduledFireAt: 99,
      actualFireAt: 101,
      outcome: 'failed',
      error: 'kettle is empty',
      triggerKind: 'queue-drain',
      parentTriggerId: `${scheduleId}_parent`,
      metadata: { $reason: ['busy', null] },
    };
    assert.equal(await schedules.recordTrigger(full), undefined);
    assert.deepEqual(await schedules.listTriggers(scheduleId), [full]);
  });

  await check('a trigger without id and kind gets them, and no run is null', async () => {
    const scheduleId = schedule('defaults').id;
    const plain = {
      scheduleId,
      runId: null,
      scheduledFireAt: 1,
      actualFireAt: 2,
      outcome: 'skipped',
    };
    await schedules.recordTrigger(plain);
    await schedules.recordTrigger({ ...plain, actualFireAt: 3 });
    const [second, first] = await schedules.listTriggers(scheduleId);
    assert.ok(first.id && second.id && first.id !== second.id);
    assert.deepEqual(first, { ...plain, id: first.id, triggerKind: 'schedule-fire' });
    for (const member of ['error', 'parentTriggerId', 'metadata']) {
      assert.equal(member in first, false, member);
    }
  });

  await check('every outcome and kind is kept', async () => {
    const scheduleId = schedule('outcomes').id;
    const outcomes = [
      'published',
      'succeeded',
      'delivered',
      'persisted',
      'discarded',
      'skipped',
      'aborted',
      'failed',
    ];
    const kinds = ['schedule-fire', 'queue-drain', 'manual'];
    for (const [n, outcome] of outcomes.entries()) {
      const trigger = { scheduleId, runId: null, scheduledFireAt: n, actualFireAt: n, outcome };
      await schedules.recordTrigger({ ...trigger, triggerKind: kinds[n % 3] });
    }
    const found = (await schedules.listTriggers(scheduleId)).reverse();
    assert.deepEqual(
      found.map(({ outcome }) => outcome),
      outcomes,
    );
    assert.deepEqual(
      found.map(({ triggerKind }) => triggerKind),
      outcomes.map((_, n) => kinds[n % 3]),
    );
  });

  await check('a second trigger with one id is refused and changes nothing', async () => {
    const scheduleId = schedule('same').id;
    const first = {
      id: `${scheduleId}_t`,
      scheduleId,
      runId: 'r',
      scheduledFireAt: 1,
      actualFireAt: 2,
      outcome: 'published',
      triggerKind: 'manual',
    };
    await schedules.recordTrigger(first);
    const second = schedules.recordTrigger({ ...first, outcome: 'failed' });
    const error = await failure(second, 'Schedule trigger with id');
    assert.match(error.message, new RegExp(`${first.id}.*already exists`));
    assert.deepEqual(await schedules.listTriggers(scheduleId), [first]);
  });
}

async function history({ schedules, schedule, check }) {
  const record = (scheduleId, actualFireAt) =>
    schedules.recordTrigger({
      scheduleId,
      runId: `run${actualFireAt}`,
      scheduledFireAt: 1000 - actualFireAt,
      actualFireAt,
      outcome: 'published',
    });
  const [mine, other] = [schedule('history').id, schedule('another').id];
  for (const time of [30, 10, 20, 50, 40]) await record(mine, time);
  await record(other, 35);
  const times = async (options) =>
    (await schedules.listTriggers(mine, options)).map(({ actualFireAt }) => actualFireAt);

  await check('the triggers of a schedule come newest first, by when they fired', async () => {
    assert.deepEqual(await times(), [50, 40, 30, 20, 10]);
    assert.deepEqual(await schedules.listTriggers(`${mine}x`), []);
  });

  await check('as many of the newest triggers come as are asked for', async () => {
    assert.deepEqual(await times({ limit: 2 }), [50, 40]);
    assert.deepEqual(await times({ limit: 0 }), []);
    assert.deepEqual(await times({ limit: 500 }), [50, 40, 30, 20, 10]);
  });

  await check('a range of triggers includes its start and not its end', async () => {
    assert.deepEqual(await times({ fromActualFireAt: 30 }), [50, 40, 30]);
    assert.deepEqual(await times({ toActualFireAt: 30 }), [20, 10]);
    assert.deepEqual(await times({ fromActualFireAt: 20, toActualFireAt: 50 }), [40, 30, 20]);
    assert.deepEqual(await times({ fromActualFireAt: 20, toActualFireAt: 50, limit: 1 }), [40]);
    assert.deepEqual(await times({ fromActualFireAt: 51 }), []);
    assert.deepEqual(await times({ fromActualFireAt: 30, toActualFireAt: 30 }), []);
    assert.deepEqual(await times({ fromActualFireAt: 0 }), [50, 40, 30, 20, 10]);
    assert.deepEqual(await times({ toActualFireAt: 0 }), []);
  });

  await check('100 triggers come unless asked otherwise', async () => {
    const { id } = schedule('long');
    await Promise.all(range(0, 105).map((n) => record(id, n)));
    const found = await schedules.listTriggers(id);
    assert.deepEqual(
      found.map(({ actualFireAt }) => actualFireAt),
      range(5, 105).reverse(),
    );
    assert.equal((await schedules.listTriggers(id, { limit: 1000 })).length, 105);
  });
}

async function deleting({ schedules, schedule, create, check }) {
  const record = (scheduleId, n) =>
    schedules.recordTrigger({
      scheduleId,
      runId: null,
      scheduledFireAt: n,
      actualFireAt: n,
      outcome: 'published',
    });

  await check('a deleted schedule takes its 60 triggers along, and no other', async () => {
    const [doomed, kept] = [schedule('doomed'), schedule('kept')];
    await create(doomed, kept);
    await Promise.all([...range(0, 60).map((n) => record(doomed.id, n)), record(kept.id, 1)]);
    await schedules.deleteSchedule(doomed.id);
    assert.equal(await schedules.getSchedule(doomed.id), null);
    assert.deepEqual(await schedules.listTriggers(doomed.id), []);
    assert.deepEqual(await schedules.getSchedule(kept.id), kept);
    assert.equal((await schedules.listTriggers(kept.id)).length, 1);
  });

  await check('deleting a schedule that does not exist changes nothing', async () => {
    assert.equal(await schedules.deleteSchedule(schedule('gone').id), undefined);
  });

  await check('a deleted schedule can be created again', async () => {
    const begun = await create(schedule('anew'));
    await schedules.deleteSchedule(begun.id);
    await create({ ...begun, cron: '7 7 * * *' });
    assert.equal((await schedules.getSchedule(begun.id)).cron, '7 7 * * *');
  });
}
