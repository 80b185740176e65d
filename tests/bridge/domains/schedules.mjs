// ConvexStore: schedules.
import assert from 'node:assert/strict';
import { callStorage, failure, range } from '../harness.mjs';
import { AGENT, labels, openSchedules, workflow } from './scheduling.mjs';

export const name = 'schedules';

export async function run({ connection, namespace, check, tidy }) {
  const opened = await openSchedules({ connection, namespace, tidy });
  const context = { connection, namespace, ...opened, check };
  await creating(context);
  await old(context);
  await listing(context);
  await due(context);
  await updating(context);
}

async function creating({ schedules, schedule, create, check }) {
  await check('a created schedule comes back as it was', async () => {
    const full = schedule('full', {
      target: workflow('brew', {
        inputData: { $cups: 2, ключ: [null, 0.5, { a: [] }] },
        initialState: { x: 1 },
        requestContext: { user: 'ann' },
      }),
      timezone: 'Europe/Zurich',
      status: 'paused',
      nextFireAt: 1767225600001,
      lastFireAt: 1767225600000,
      lastRunId: 'run',
      metadata: { a: { b: [1, 'zwei'] }, $c: null },
      ownerType: 'agent',
      ownerId: 'helper',
    });
    assert.deepEqual(await schedules.createSchedule(full), full);
    assert.deepEqual(await schedules.getSchedule(full.id), full);
  });

  await check('what a schedule does not have is absent when it comes back', async () => {
    const plain = await create(schedule('plain'));
    const found = await schedules.getSchedule(plain.id);
    assert.deepEqual(found, plain);
    assert.deepEqual(Object.keys(found).sort(), Object.keys(plain).sort());
  });

  await check('the target of an agent keeps its members', async () => {
    const target = {
      ...AGENT,
      name: 'morning',
      threadId: 't',
      resourceId: 'r',
      signalType: 'notification',
      tagName: 'schedule',
      attributes: { a: '1' },
      providerOptions: { x: { y: 1 } },
      ifActive: { behavior: 'deliver' },
      ifIdle: { behavior: 'wake' },
      metadata: { m: [1] },
    };
    const { id } = await create(schedule('agent', { target }));
    assert.deepEqual((await schedules.getSchedule(id)).target, target);
  });

  await check('a second schedule with one id is refused and changes nothing', async () => {
    const first = await create(schedule('twice', { cron: '1 * * * *' }));
    const second = schedules.createSchedule({ ...first, cron: '2 * * * *' });
    const error = await failure(second, 'Schedule with id');
    assert.match(error.message, new RegExp(`${first.id}.*already exists`));
    assert.deepEqual(await schedules.getSchedule(first.id), first);
  });

  await check('of schedules that are created with one id at once one is stored', async () => {
    const { id, ...rest } = schedule('race');
    const attempts = range(0, 10).map((n) =>
      schedules.createSchedule({ id, ...rest, cron: `${n} * * * *` }),
    );
    const outcomes = await Promise.allSettled(attempts);
    const stored = outcomes.filter(({ status }) => status === 'fulfilled');
    assert.equal(stored.length, 1);
    assert.deepEqual(await schedules.getSchedule(id), stored[0].value);
  });

  await check('a schedule without an id is refused', async () => {
    const nameless = { ...schedule('nameless'), id: '' };
    await failure(schedules.createSchedule(nameless), 'Schedule is missing an id');
  });

  await check('a schedule that does not exist is null', async () => {
    assert.equal(await schedules.getSchedule(schedule('nobody').id), null);
  });
}

async function old({ connection, schedules, schedule, check }) {
  const insert = ({ id }, target) =>
    callStorage(connection, {
      op: 'insert',
      tableName: 'mastra_schedules',
      record: {
        id,
        target,
        cron: '0 8 * * *',
        status: 'active',
        next_fire_at: 4102444800000,
        created_at: 10,
        updated_at: 20,
      },
    });

  await check('a heartbeat that an old version stored is the schedule of an agent', async () => {
    const expected = schedule('heartbeat');
    await insert(expected, JSON.stringify({ ...AGENT, type: 'heartbeat' }));
    assert.deepEqual(await schedules.getSchedule(expected.id), expected);
  });

  await check('a stored target that is none is an error that names the schedule', async () => {
    const broken = schedule('broken');
    await insert(broken, 'not JSON');
    await failure(schedules.getSchedule(broken.id), `Schedule ${broken.id} has invalid target`);
    await schedules.deleteSchedule(broken.id);
  });
}

async function listing({ namespace, schedules, schedule, create, check }) {
  const [ann, bob, brew] = ['ann', 'bob', 'brew'].map((word) => `${namespace}-${word}`);
  const kind = `${namespace}-agent`;
  await create(
    schedule('e', { createdAt: 5, ownerType: kind, ownerId: ann, target: workflow(brew) }),
    schedule('c', { createdAt: 3, ownerType: kind, ownerId: ann }),
    schedule('a', { createdAt: 1, ownerType: kind, ownerId: bob, target: workflow(brew) }),
    schedule('d', {
      createdAt: 4,
      ownerType: kind,
      ownerId: ann,
      status: 'paused',
      target: workflow(brew),
    }),
    schedule('b', { createdAt: 2, target: workflow(brew) }),
    schedule('f', { createdAt: 6, ownerType: kind, target: workflow(brew) }),
    schedule('g', { createdAt: 7, ownerId: ann, target: workflow(`${brew}2`) }),
  );
  const list = async (filter) => labels(await schedules.listSchedules(filter));

  await check('all schedules are listed the oldest first', async () => {
    for (const listed of [await schedules.listSchedules(), await schedules.listSchedules({})]) {
      const mine = listed.filter(({ id }) => /_[a-g]$/.test(id) && id.startsWith(namespace));
      assert.equal(labels(mine), 'a b c d e f g');
    }
  });

  await check('schedules are filtered by owner', async () => {
    assert.equal(await list({ ownerType: kind }), 'a c d e f');
    assert.equal(await list({ ownerId: ann }), 'c d e g');
    assert.equal(await list({ ownerType: kind, ownerId: ann }), 'c d e');
    assert.equal(await list({ ownerType: `${kind}x` }), '');
  });

  await check('schedules are filtered by workflow', async () => {
    assert.equal(await list({ workflowId: brew }), 'a b d e f');
    assert.equal(await list({ workflowId: `${brew}2` }), 'g');
    assert.equal(await list({ workflowId: `${brew}x` }), '');
  });

  await check('schedules are filtered by status', async () => {
    assert.equal(await list({ workflowId: brew, status: 'active' }), 'a b e f');
    assert.equal(await list({ workflowId: brew, status: 'paused' }), 'd');
    assert.equal(await list({ ownerId: ann, status: 'active' }), 'c e g');
  });

  await check('null asks for schedules that nobody owns', async () => {
    assert.equal(await list({ workflowId: brew, ownerType: null }), 'b');
    assert.equal(await list({ workflowId: brew, ownerId: null }), 'b f');
    assert.equal(await list({ workflowId: brew, ownerType: kind, ownerId: null }), 'f');
    assert.equal(await list({ workflowId: `${brew}2`, ownerType: null, ownerId: ann }), 'g');
    const unowned = await schedules.listSchedules({ ownerType: null, ownerId: null });
    assert.ok(unowned.some(({ id }) => id === `${namespace}_b`));
    assert.ok(unowned.every(({ ownerType, ownerId }) => !ownerType && !ownerId));
  });

  await check('all filters count together', async () => {
    const filter = { ownerType: kind, ownerId: ann, workflowId: brew, status: 'active' };
    assert.equal(await list(filter), 'e');
  });

  await check('a workflow named by the target of an agent does not count', async () => {
    const target = { ...AGENT, workflowId: `${brew}3` };
    await create(schedule('h', { target }));
    assert.equal(await list({ workflowId: `${brew}3` }), '');
  });

  await check('a listed schedule is whole', async () => {
    const [found] = await schedules.listSchedules({ workflowId: `${brew}2` });
    const expected = { createdAt: 7, ownerId: ann, target: workflow(`${brew}2`) };
    assert.deepEqual(found, schedule('g', expected));
  });
}

async function due({ namespace, schedules, schedule, create, check }) {
  // Before everything that a schedule in use could be due for.
  await create(
    schedule('late', { nextFireAt: -5000 }),
    schedule('still', { nextFireAt: -5000, status: 'paused' }),
    schedule('next', { nextFireAt: -3999 }),
    schedule('now', { nextFireAt: -4000 }),
    schedule('later', { nextFireAt: -4500 }),
    schedule('tie', { nextFireAt: -4500 }),
  );

  await check('due are active schedules whose time has come, the longest due first', async () => {
    assert.equal(labels(await schedules.listDueSchedules(-4000)), 'late later tie now');
    assert.equal(labels(await schedules.listDueSchedules(-4500)), 'late later tie');
    assert.deepEqual(await schedules.listDueSchedules(-5001), []);
  });

  await check('a due schedule is whole', async () => {
    const [found] = await schedules.listDueSchedules(-5000);
    assert.deepEqual(found, schedule('late', { nextFireAt: -5000 }));
  });

  await check('as many due schedules come as are asked for', async () => {
    assert.equal(labels(await schedules.listDueSchedules(-4000, 2)), 'late later');
    assert.equal(labels(await schedules.listDueSchedules(-4000, 100)), 'late later tie now');
    assert.deepEqual(await schedules.listDueSchedules(-4000, 0), []);
  });

  await check('a schedule that is paused is not due, and due again when it is active', async () => {
    const late = `${namespace}_late`;
    await schedules.updateSchedule(late, { status: 'paused' });
    assert.equal(labels(await schedules.listDueSchedules(-4000)), 'later tie now');
    await schedules.updateSchedule(late, { status: 'active' });
    assert.equal(labels(await schedules.listDueSchedules(-4000)), 'late later tie now');
  });

  await check('a schedule that moved on is not due', async () => {
    await schedules.updateSchedule(`${namespace}_late`, { nextFireAt: 4102444800000 });
    assert.equal(labels(await schedules.listDueSchedules(-4000)), 'later tie now');
  });

  await check('100 due schedules come unless asked otherwise', async () => {
    const many = range(0, 103).map((n) => schedule(`many_${n}`, { nextFireAt: -9000 + n }));
    await Promise.all(many.map((each) => schedules.createSchedule(each)));
    const expected = (count) => range(0, count).join(' ');
    assert.equal(labels(await schedules.listDueSchedules(-8000)), expected(100));
    assert.equal(labels(await schedules.listDueSchedules(-8000, 500)), expected(103));
    await Promise.all(many.map(({ id }) => schedules.deleteSchedule(id)));
  });
}

async function updating({ namespace, schedules, schedule, create, check }) {
  const begin = (label, rest) =>
    create(
      schedule(label, {
        timezone: 'UTC',
        metadata: { a: 1 },
        ownerType: 'agent',
        ownerId: 'x',
        lastFireAt: 5,
        lastRunId: 'r',
        ...rest,
      }),
    );

  await check('an update changes what it names, and the date of the change', async () => {
    const begun = await begin('update');
    const changes = [
      { cron: '5 5 * * *' },
      { status: 'paused' },
      { nextFireAt: 4102444800001 },
      { timezone: 'Asia/Tokyo' },
      { metadata: { b: [2] } },
      { ownerType: 'team' },
      { ownerId: 'y' },
      { target: workflow('brew') },
      { status: 'active', cron: '6 6 * * *', metadata: {} },
    ];
    let expected = begun;
    for (const change of changes) {
      const before = Date.now();
      const { updatedAt, ...updated } = await schedules.updateSchedule(begun.id, change);
      assert.ok(updatedAt >= before && updatedAt <= Date.now());
      expected = { ...expected, ...change };
      const { updatedAt: _, ...unstamped } = expected;
      assert.deepEqual(updated, unstamped);
      assert.deepEqual(await schedules.getSchedule(begun.id), { ...expected, updatedAt });
    }
  });

  await check('what can be absent is cleared by undefined', async () => {
    const begun = await begin('clear');
    const change = {
      timezone: undefined,
      metadata: undefined,
      ownerType: undefined,
      ownerId: undefined,
    };
    const cleared = await schedules.updateSchedule(begun.id, change);
    for (const found of [cleared, await schedules.getSchedule(begun.id)]) {
      for (const member of Object.keys(change)) assert.equal(member in found, false, member);
      assert.deepEqual([found.cron, found.lastRunId], [begun.cron, 'r']);
    }
  });

  await check('what cannot be absent is left alone by undefined', async () => {
    const begun = await begin('keep');
    const change = {
      cron: undefined,
      status: undefined,
      nextFireAt: undefined,
      target: undefined,
    };
    assert.deepEqual(await schedules.updateSchedule(begun.id, change), begun);
    assert.deepEqual(await schedules.updateSchedule(begun.id, {}), begun);
    assert.deepEqual(await schedules.getSchedule(begun.id), begun);
  });

  await check('a schedule is found by the workflow of its new target', async () => {
    const [first, second] = [`${namespace}-first`, `${namespace}-second`];
    const { id } = await begin('target', { target: workflow(first) });
    const found = async (workflowId) => labels(await schedules.listSchedules({ workflowId }));
    await schedules.updateSchedule(id, { target: workflow(second) });
    assert.deepEqual([await found(first), await found(second)], ['', 'target']);
    await schedules.updateSchedule(id, { target: AGENT });
    assert.deepEqual([await found(first), await found(second)], ['', '']);
  });

  await check('a schedule is found by its new owner', async () => {
    const { id } = await begin('owner');
    await schedules.updateSchedule(id, { ownerType: 'agent', ownerId: `${namespace}-new` });
    const filter = { ownerType: 'agent', ownerId: `${namespace}-new` };
    assert.equal(labels(await schedules.listSchedules(filter)), 'owner');
  });

  await check('updating a schedule that does not exist is an error', async () => {
    const { id } = schedule('absent');
    for (const change of [{}, { cron: '* * * * *' }]) {
      await failure(schedules.updateSchedule(id, change), `Schedule ${id} not found`);
    }
    assert.equal(await schedules.getSchedule(id), null);
  });
}
