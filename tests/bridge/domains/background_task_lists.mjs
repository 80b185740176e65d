// ConvexStore: listing and deleting background tasks.
import assert from 'node:assert/strict';
import { range } from '../harness.mjs';
import { at } from './records.mjs';
import { labels, openTasks, present, STATUSES } from './tasks.mjs';

export const name = 'background_task_lists';

export async function run({ connection, namespace, check, tidy }) {
  const opened = await openTasks({ connection, namespace, tidy });
  const context = { namespace, ...opened, check };
  await filtering(context);
  await ordering(context);
  await paging(context);
  await deleting(context);
}

async function filtering({ namespace, tasks, task, create, agent, check }) {
  const own = agent('filter');
  const mine = {
    threadId: `${namespace}-t`,
    resourceId: `${namespace}-r`,
    toolName: `${namespace}-tool`,
    toolCallId: `${namespace}-call`,
    runId: `${namespace}-run`,
  };
  await create(task('none', 0, own));
  let minutes = 1;
  for (const [member, value] of Object.entries(mine)) {
    await create(task(`${member}`, minutes++, { ...own, [member]: value }));
  }
  await create(task('all', minutes, { ...own, ...mine }));
  const list = async (filter) => labels(await tasks.listTasks(filter));

  await check('tasks are filtered by agent, the oldest first', async () => {
    const everything = 'none threadId resourceId toolName toolCallId runId all';
    assert.equal(await list(own), everything);
    assert.equal((await tasks.listTasks(own)).total, 7);
    assert.deepEqual(await tasks.listTasks(agent('nobody')), { tasks: [], total: 0 });
  });

  await check('tasks are filtered by thread, resource, tool, call and run', async () => {
    for (const [member, value] of Object.entries(mine)) {
      assert.equal(await list({ [member]: value }), `${member} all`);
      assert.equal(await list({ [member]: `${value}x` }), '');
    }
  });

  await check('all filters count together', async () => {
    assert.equal(await list({ ...own, ...mine, status: 'pending' }), 'all');
    assert.equal(await list({ ...own, ...mine, status: 'running' }), '');
    assert.equal(await list({ ...mine, runId: 'run' }), '');
  });

  await check('a listed task is whole', async () => {
    const { tasks: found } = await tasks.listTasks({ ...own, ...mine });
    const expected = task('all', minutes, { ...own, ...mine });
    assert.deepEqual(found.map(present), [expected]);
  });

  await check('tasks of one status or of several are listed', async () => {
    const those = agent('statuses');
    for (const [n, status] of STATUSES.entries()) {
      await create(task(`of_${status.replace('_', '')}`, n, { ...those, status }));
    }
    assert.equal(await list({ ...those, status: 'running' }), 'running');
    assert.equal(await list({ ...those, status: ['running'] }), 'running');
    const several = ['timed_out', 'pending', 'failed'];
    assert.equal(await list({ ...those, status: several }), 'pending failed timedout');
    assert.equal((await tasks.listTasks({ ...those, status: several })).total, 3);
    assert.equal(await list({ ...those, status: STATUSES }), await list(those));
  });

  await check('a status is what the task was last updated to', async () => {
    const those = agent('moved');
    const { id } = await create(task('moved', 0, those));
    await tasks.updateTask(id, { status: 'running' });
    assert.equal(await list({ ...those, status: 'pending' }), '');
    assert.equal(await list({ ...those, status: 'running' }), 'moved');
  });

  await check('a range of dates includes its start and not its end', async () => {
    const those = agent('dates');
    await create(
      task('a', 1, { ...those, startedAt: at(10), completedAt: at(30) }),
      task('b', 2, those),
      task('c', 3, { ...those, startedAt: at(12), suspendedAt: at(20) }),
    );
    const within = (dateFilterBy, fromDate, toDate) =>
      list({
        ...those,
        ...(dateFilterBy ? { dateFilterBy } : {}),
        ...(fromDate === undefined ? {} : { fromDate: at(fromDate) }),
        ...(toDate === undefined ? {} : { toDate: at(toDate) }),
      });
    assert.equal(await within(undefined, 2), 'b c');
    assert.equal(await within(undefined, undefined, 2), 'a');
    assert.equal(await within('createdAt', 1, 3), 'a b');
    assert.equal(await within('startedAt', 10), 'a c');
    assert.equal(await within('startedAt', undefined, 12), 'a');
    assert.equal(await within('startedAt', 12, 13), 'c');
    assert.equal(await within('suspendedAt', 0), 'c');
    assert.equal(await within('completedAt', 0, 31), 'a');
    assert.equal(await within('completedAt', 31), '');
    assert.equal(await within('startedAt'), 'a b c');
  });
}

async function ordering({ tasks, task, create, agent, check }) {
  const own = agent('order');
  await create(
    task('a', 1, { ...own, startedAt: at(12), completedAt: at(20) }),
    task('b', 2, { ...own, suspendedAt: at(5) }),
    task('c', 3, { ...own, startedAt: at(10), completedAt: at(21) }),
    task('d', 4, own),
  );

  await check('tasks are sorted by any date, those without it as if long ago', async () => {
    const expected = {
      createdAt: ['a b c d', 'd c b a'],
      startedAt: ['b d c a', 'a c b d'],
      suspendedAt: ['a c d b', 'b a c d'],
      completedAt: ['b d a c', 'c a b d'],
    };
    for (const [orderBy, [ascending, descending]] of Object.entries(expected)) {
      assert.equal(labels(await tasks.listTasks({ ...own, orderBy })), ascending);
      for (const [orderDirection, sorted] of [
        ['asc', ascending],
        ['desc', descending],
      ]) {
        const found = await tasks.listTasks({ ...own, orderBy, orderDirection });
        assert.equal(labels(found), sorted, `${orderBy} ${orderDirection}`);
      }
    }
  });

  await check('tasks of one instant keep their order in both directions', async () => {
    const ties = agent('ties');
    for (const n of range(0, 5)) await create(task(`tie_${n}`, 1, ties));
    for (const orderDirection of ['asc', 'desc']) {
      assert.equal(labels(await tasks.listTasks({ ...ties, orderDirection })), '0 1 2 3 4');
    }
  });
}

async function paging({ tasks, task, create, agent, check }) {
  const own = agent('pages');
  // Created newest first, so that a page taken before sorting would be another one.
  for (const n of range(0, 7).reverse()) {
    await create(task(`page_${n}`, n, { ...own, status: n % 2 ? 'running' : 'pending' }));
  }
  const page = async (filter) => {
    const found = await tasks.listTasks({ ...own, ...filter });
    return [labels(found), found.total];
  };

  await check('pages of tasks follow each other, and the total counts them all', async () => {
    const pages = [];
    for (const number of range(0, 4)) pages.push(await page({ page: number, perPage: 3 }));
    assert.deepEqual(pages, [
      ['0 1 2', 7],
      ['3 4 5', 7],
      ['6', 7],
      ['', 7],
    ]);
  });

  await check('perPage alone is the first page, page alone is everything', async () => {
    assert.deepEqual(await page({ perPage: 2 }), ['0 1', 7]);
    assert.deepEqual(await page({ page: 1 }), ['0 1 2 3 4 5 6', 7]);
  });

  await check('a page is cut after filters and order', async () => {
    assert.deepEqual(await page({ status: 'running', page: 1, perPage: 2 }), ['5', 3]);
    const newest = { orderDirection: 'desc', page: 1, perPage: 2 };
    assert.deepEqual(await page(newest), ['4 3', 7]);
    assert.deepEqual(await page({ ...newest, fromDate: at(3) }), ['4 3', 4]);
  });

  await check('150 tasks of an agent are all counted and paged', async () => {
    const many = agent('many');
    await Promise.all(range(0, 150).map((n) => tasks.createTask(task(`many_${n}`, n, many))));
    const found = await tasks.listTasks({ ...many, page: 2, perPage: 60 });
    assert.deepEqual([labels(found), found.total], [range(120, 150).join(' '), 150]);
  });
}

async function deleting({ namespace, tasks, task, create, agent, check }) {
  const list = async (filter) => labels(await tasks.listTasks(filter));

  await check('deleting a task removes exactly that one', async () => {
    const own = agent('delete');
    await create(task('da', 0, own), task('db', 1, own));
    await tasks.deleteTask(`${namespace}_da`);
    assert.equal(await tasks.getTask(`${namespace}_da`), null);
    assert.equal(await list(own), 'db');
  });

  await check('deleting a task that does not exist changes nothing', async () => {
    assert.equal(await tasks.deleteTask(task('gone').id), undefined);
  });

  await check('deleting by filter removes what the filter lists', async () => {
    const [own, other] = [agent('sweep'), agent('kept')];
    const statuses = ['completed', 'failed', 'running'];
    for (const n of range(0, 9)) {
      const status = statuses[n % 3];
      await create(task(`s_${n}`, n, { ...own, status, completedAt: at(n) }));
    }
    await create(task('other', 0, { ...other, status: 'completed', completedAt: at(0) }));
    const old = { dateFilterBy: 'completedAt', toDate: at(4) };
    await tasks.deleteTasks({ ...own, ...old, status: ['completed', 'failed'] });
    assert.equal(await list(own), '2 4 5 6 7 8');
    await tasks.deleteTasks({ ...own, status: 'running' });
    assert.equal(await list(own), '4 6 7');
    await tasks.deleteTasks({ ...own, toolName: 'no such tool' });
    assert.equal(await list(own), '4 6 7');
    await tasks.deleteTasks(own);
    assert.equal(await list(own), '');
    assert.equal(await list(other), 'other');
  });

  await check('deleting by each filter removes no other task', async () => {
    const own = agent('each');
    for (const member of ['threadId', 'resourceId', 'toolName', 'toolCallId', 'runId']) {
      const value = `${namespace}-each-${member}`;
      const doomed = { ...own, [member]: value };
      await create(task(`${member}-1`, 0, doomed), task('survivor', 1, own));
      await tasks.deleteTasks({ [member]: value });
      assert.equal(await list(own), 'survivor', member);
    }
  });

  await check('only the page that a filter lists is deleted', async () => {
    const own = agent('deletepage');
    for (const n of range(0, 5)) await create(task(`p_${n}`, n, own));
    await tasks.deleteTasks({ ...own, page: 1, perPage: 2 });
    assert.equal(await list(own), '0 1 4');
  });

  await check('60 tasks are deleted by one filter', async () => {
    const own = agent('sixty');
    await Promise.all(range(0, 60).map((n) => tasks.createTask(task(`sixty_${n}`, n, own))));
    await tasks.deleteTasks(own);
    assert.deepEqual(await tasks.listTasks(own), { tasks: [], total: 0 });
  });

  await check('a filter that does not narrow deletes nothing', async () => {
    const own = agent('wide');
    await create(task('wide', 0, own));
    const wide = [{}, { status: [] }, { page: 0, perPage: 1 }, { orderBy: 'startedAt' }];
    for (const filter of wide) await tasks.deleteTasks(filter);
    assert.equal(await list(own), 'wide');
  });
}
