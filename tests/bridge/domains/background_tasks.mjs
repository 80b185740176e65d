// ConvexStore: background tasks.
import assert from 'node:assert/strict';
import { callStorage, failure, range } from '../harness.mjs';
import { at, idsOf } from './records.mjs';
import { openTasks, present, STATUSES, TABLE } from './tasks.mjs';

export const name = 'background_tasks';

export async function run({ connection, namespace, check, tidy }) {
  const opened = await openTasks({ connection, namespace, tidy });
  const context = { connection, ...opened, check };
  await creating(context);
  await updating(context);
  await counting(context);
  await refusals(context);
}

async function creating({ tasks, task, create, check }) {
  await check('a created task comes back as it was', async () => {
    const full = task('full', 1, {
      status: 'failed',
      args: { $cups: 2, ключ: [null, 0.5, { a: [] }] },
      threadId: 't',
      resourceId: 'r',
      result: { tea: ['green', 1, null] },
      error: { message: 'kettle is empty', stack: 'Error: …\n    at brew' },
      suspendPayload: { ask: 'sugar?' },
      retryCount: 2,
      startedAt: at(2),
      suspendedAt: at(3),
      completedAt: at(4),
    });
    assert.equal(await tasks.createTask(full), undefined);
    assert.deepEqual(await tasks.getTask(full.id), full);
  });

  await check('what a task does not have is absent when it comes back', async () => {
    const plain = await create(task('plain'));
    assert.deepEqual(present(await tasks.getTask(plain.id)), plain);
  });

  await check('a task may have each of the seven statuses', async () => {
    for (const status of STATUSES) {
      const { id } = await create(task(`status_${status}`, 0, { status }));
      assert.equal((await tasks.getTask(id)).status, status);
    }
  });

  await check('a result and a suspend payload may be any JSON value', async () => {
    const values = ['text', 'null', '"quoted"', '', 0, -1.5, false, [], {}, [null, { a: 'ö' }]];
    for (const [n, value] of values.entries()) {
      const { id } = await create(task(`value_${n}`, 0, { result: value, suspendPayload: value }));
      const { result, suspendPayload } = await tasks.getTask(id);
      assert.deepEqual([result, suspendPayload], [value, value]);
    }
  });

  await check('dates keep their milliseconds', async () => {
    const createdAt = new Date(1738324800123);
    const startedAt = new Date(1738324800999);
    const { id } = await create(task('ms', 0, { createdAt, startedAt }));
    const found = await tasks.getTask(id);
    assert.deepEqual([found.createdAt, found.startedAt], [createdAt, startedAt]);
  });

  await check('creating a task again replaces it', async () => {
    await create(task('again', 0, { status: 'failed', error: { message: 'x' }, threadId: 't' }));
    const second = await create(task('again', 5, { status: 'running', startedAt: at(6) }));
    assert.deepEqual(present(await tasks.getTask(second.id)), second);
  });

  await check('a task that does not exist is null', async () => {
    assert.equal(await tasks.getTask(task('nobody').id), null);
  });
}

async function updating({ tasks, task, create, check }) {
  await check('an update changes what it names and nothing else', async () => {
    let expected = await create(
      task('update', 0, { threadId: 't', args: { a: 1 }, result: { kept: true } }),
    );
    const changes = [
      { status: 'running', startedAt: at(1) },
      { retryCount: 1 },
      { maxRetries: 5 },
      { timeoutMs: 7 },
      { status: 'suspended', suspendedAt: at(2), suspendPayload: { ask: [1] } },
      { status: 'failed', error: { message: 'no' } },
      { status: 'completed', result: [1, 'two'], completedAt: at(3), retryCount: 0 },
    ];
    for (const change of changes) {
      await tasks.updateTask(expected.id, change);
      expected = { ...expected, ...change };
      assert.deepEqual(present(await tasks.getTask(expected.id)), expected);
    }
  });

  await check('undefined clears what can be absent', async () => {
    const members = {
      result: 1,
      error: { message: 'x' },
      suspendPayload: { a: 1 },
      startedAt: at(1),
      suspendedAt: at(2),
      completedAt: at(3),
    };
    const { id } = await create(task('clear', 0, members));
    for (const member of Object.keys(members)) {
      await tasks.updateTask(id, { [member]: undefined });
      assert.equal((await tasks.getTask(id))[member], undefined, member);
    }
    assert.deepEqual(present(await tasks.getTask(id)), task('clear'));
  });

  await check('undefined leaves alone what cannot be absent', async () => {
    const begun = await create(task('leave', 0, { status: 'running', retryCount: 2 }));
    const change = {
      status: undefined,
      retryCount: undefined,
      maxRetries: undefined,
      timeoutMs: undefined,
    };
    await tasks.updateTask(begun.id, change);
    await tasks.updateTask(begun.id, {});
    await tasks.updateTask(begun.id, { ...change, result: 'new' });
    assert.deepEqual(present(await tasks.getTask(begun.id)), { ...begun, result: 'new' });
  });

  await check('updates of one task at the same time all take effect', async () => {
    const { id } = await create(task('parallel'));
    const changes = [
      { status: 'running' },
      { result: 1 },
      { error: { message: 'x' } },
      { suspendPayload: [1] },
      { retryCount: 2 },
      { maxRetries: 9 },
      { timeoutMs: 8 },
      { startedAt: at(1) },
      { suspendedAt: at(2) },
      { completedAt: at(3) },
    ];
    await Promise.all(changes.map((change) => tasks.updateTask(id, change)));
    const expected = Object.assign(task('parallel'), ...changes);
    assert.deepEqual(present(await tasks.getTask(id)), expected);
  });

  await check('updating a task that does not exist changes nothing', async () => {
    const { id } = task('absent');
    await tasks.updateTask(id, { status: 'running' });
    assert.equal(await tasks.getTask(id), null);
  });
}

async function counting({ tasks, task, create, agent, check }) {
  await check('running tasks are counted, all and by agent', async () => {
    const [own, other] = [agent('count'), agent('count2')];
    await create(
      task('r1', 0, { ...own, status: 'running' }),
      task('r2', 0, { ...own, status: 'running' }),
      task('r3', 0, { ...other, status: 'running' }),
      ...STATUSES.filter((status) => status !== 'running').map((status) =>
        task(`not_${status}`, 0, { ...own, status }),
      ),
    );
    assert.equal(await tasks.getRunningCountByAgent(own.agentId), 2);
    assert.equal(await tasks.getRunningCountByAgent(other.agentId), 1);
    assert.equal(await tasks.getRunningCountByAgent(agent('idle').agentId), 0);
    assert.ok((await tasks.getRunningCount()) >= 3);
    const { total } = await tasks.listTasks({ status: 'running' });
    assert.equal(await tasks.getRunningCount(), total);
  });

  await check('a task that ends is no longer counted', async () => {
    const own = agent('ends');
    const { id } = await create(task('ends', 0, { ...own, status: 'running' }));
    assert.equal(await tasks.getRunningCountByAgent(own.agentId), 1);
    await tasks.updateTask(id, { status: 'completed', completedAt: at(1) });
    assert.equal(await tasks.getRunningCountByAgent(own.agentId), 0);
  });
}

async function refusals({ connection, tasks, task, check }) {
  await check('a task of an unknown status is refused', async () => {
    const odd = task('odd', 0, { status: 'lost' });
    await failure(tasks.createTask(odd));
    assert.equal(await tasks.getTask(odd.id), null);
  });

  await check('a record without an id is refused', async () => {
    const request = { op: 'insert', tableName: TABLE, record: { status: 'pending' } };
    await failure(callStorage(connection, request), 'Record is missing an id');
  });

  await check('more than ten tasks are not loaded at once', async () => {
    const ids = range(0, 11).map((n) => task(`eleven_${n}`).id);
    const request = { op: 'loadMany', tableName: TABLE, ids };
    const text = 'loadMany supports at most 10 ids per request';
    await failure(callStorage(connection, request), text);
    const rows = await callStorage(connection, { ...request, ids: ids.slice(0, 10) });
    assert.deepEqual(idsOf(rows), []);
  });
}
