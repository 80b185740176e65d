// ConvexStore: snapshots of workflow runs.
import assert from 'node:assert/strict';
import { range } from '../harness.mjs';
import { at } from './records.mjs';
import { openWorkflows, snapshot } from './workflow_runs.mjs';

export const name = 'workflows';

export async function run({ connection, namespace, check, tidy }) {
  const { workflows, fresh } = await openWorkflows({ connection, namespace, tidy });
  const context = { workflows, fresh, check };
  await persisting(context);
  await listing(context);
  await paging(context);
  await finding(context);
  await deleting(context);
}

async function persisting({ workflows, fresh, check }) {
  await check('the store says that branches may report at the same time', async () => {
    assert.equal(workflows.supportsConcurrentUpdates(), true);
  });

  await check('a persisted snapshot comes back as it was', async () => {
    const workflowName = fresh('persist');
    const stored = snapshot('r', {
      status: 'suspended',
      value: { a: '1' },
      context: {
        input: { $schema: 'reserved', ключ: '🗝', deep: [[[{ x: [null, 0.1, -0.5, true] }]]] },
        ask: {
          status: 'suspended',
          payload: {},
          suspendPayload: { q: '?' },
          startedAt: 1,
          suspendedAt: 2,
        },
      },
      suspendedPaths: { ask: [0, 1] },
      resumeLabels: { yes: { stepId: 'ask', foreachIndex: 2 } },
      activePaths: [0],
      waitingPaths: { w: [1] },
      serializedStepGraph: [{ type: 'step', step: { id: 'ask' } }],
      requestContext: { user: { id: 1 } },
      error: { message: 'no', name: 'Error', stack: 'at\nx' },
    });
    await workflows.persistWorkflowSnapshot({ workflowName, runId: 'r', snapshot: stored });
    assert.deepEqual(await workflows.loadWorkflowSnapshot({ workflowName, runId: 'r' }), stored);
  });

  await check('a member that is undefined is absent afterwards', async () => {
    const workflowName = fresh('undefined');
    const stored = snapshot('r', { result: undefined });
    await workflows.persistWorkflowSnapshot({ workflowName, runId: 'r', snapshot: stored });
    const loaded = await workflows.loadWorkflowSnapshot({ workflowName, runId: 'r' });
    assert.equal('result' in loaded, false);
  });

  await check('the snapshot of a run that does not exist is null', async () => {
    const workflowName = fresh('absent');
    await workflows.persistWorkflowSnapshot({ workflowName, runId: 'r', snapshot: snapshot('r') });
    for (const [other, runId] of [
      [workflowName, 'x'],
      [`${workflowName}x`, 'r'],
    ]) {
      assert.equal(await workflows.loadWorkflowSnapshot({ workflowName: other, runId }), null);
      assert.equal(await workflows.getWorkflowRunById({ workflowName: other, runId }), null);
    }
  });

  await check('persisting again replaces the snapshot and keeps the creation date', async () => {
    const workflowName = fresh('again');
    const persist = (minutes, rest) =>
      workflows.persistWorkflowSnapshot({
        workflowName,
        runId: 'r',
        snapshot: snapshot('r', rest),
        createdAt: at(minutes),
        updatedAt: at(minutes),
      });
    await persist(1, { value: { old: 'yes' } });
    await persist(5, { status: 'success' });
    const run = await workflows.getWorkflowRunById({ workflowName, runId: 'r' });
    assert.deepEqual([run.createdAt, run.updatedAt], [at(1), at(5)]);
    assert.deepEqual(run.snapshot, snapshot('r', { status: 'success' }));
    assert.equal((await workflows.listWorkflowRuns({ workflowName })).total, 1);
  });

  await check('dates that are not given are now', async () => {
    const workflowName = fresh('now');
    const before = Date.now();
    await workflows.persistWorkflowSnapshot({ workflowName, runId: 'r', snapshot: snapshot('r') });
    const { createdAt, updatedAt } = await workflows.getWorkflowRunById({
      workflowName,
      runId: 'r',
    });
    assert.ok(createdAt instanceof Date && updatedAt instanceof Date);
    assert.deepEqual(createdAt, updatedAt);
    assert.ok(createdAt.getTime() >= before && createdAt.getTime() <= Date.now());
  });

  await check('the resource of a run stays until another is given', async () => {
    const workflowName = fresh('resource');
    for (const [resourceId, kept] of [
      ['ann', 'ann'],
      [undefined, 'ann'],
      ['bob', 'bob'],
    ]) {
      const state = snapshot('r');
      await workflows.persistWorkflowSnapshot({
        workflowName,
        runId: 'r',
        resourceId,
        snapshot: state,
      });
      const run = await workflows.getWorkflowRunById({ workflowName, runId: 'r' });
      assert.equal(run.resourceId, kept);
    }
  });

  await check('a run without a resource has none', async () => {
    const workflowName = fresh('nobody');
    await workflows.persistWorkflowSnapshot({ workflowName, runId: 'r', snapshot: snapshot('r') });
    const run = await workflows.getWorkflowRunById({ workflowName, runId: 'r' });
    assert.equal(run.resourceId, undefined);
  });

  await check('a snapshot of 500 KB comes back whole', async () => {
    const workflowName = fresh('large');
    const text = 'öäü 記憶 '.repeat(33_000);
    const stored = snapshot('r', { value: { text } });
    await workflows.persistWorkflowSnapshot({ workflowName, runId: 'r', snapshot: stored });
    const loaded = await workflows.loadWorkflowSnapshot({ workflowName, runId: 'r' });
    assert.equal(loaded.value.text === text, true);
  });
}

async function listing({ workflows, fresh, check }) {
  const [w, other] = [fresh('list'), fresh('other')];
  const [ann, bob] = [`${w}_ann`, `${w}_bob`];
  const rows = [
    [w, 'a', 1, ann, 'success'],
    [w, 'b', 4, bob, 'running'],
    [w, 'c', 2, ann, 'suspended'],
    [w, 'd', 3, undefined, 'success'],
    [other, 'e', 5, ann, 'success'],
  ];
  for (const [workflowName, runId, minutes, resourceId, status] of rows) {
    await workflows.persistWorkflowSnapshot({
      workflowName,
      runId,
      resourceId,
      snapshot: snapshot(runId, { status }),
      createdAt: at(minutes),
      updatedAt: at(minutes + 1),
    });
  }
  const ids = async (question) => {
    const { runs, total } = await workflows.listWorkflowRuns(question);
    assert.equal(total, runs.length);
    return runs.map(({ runId }) => runId).join('');
  };

  await check('runs of a workflow are listed newest first', async () => {
    assert.equal(await ids({ workflowName: w }), 'bdca');
  });

  await check('a listed run has its names, snapshot, dates and resource', async () => {
    const { runs } = await workflows.listWorkflowRuns({ workflowName: w });
    assert.deepEqual(runs[3], {
      workflowName: w,
      runId: 'a',
      snapshot: snapshot('a', { status: 'success' }),
      createdAt: at(1),
      updatedAt: at(2),
      resourceId: ann,
    });
    assert.equal(runs[1].resourceId, undefined);
  });

  await check('runs are filtered by workflow, resource and status, all together', async () => {
    assert.equal(await ids({ resourceId: ann }), 'eca');
    assert.equal(await ids({ workflowName: w, resourceId: ann }), 'ca');
    assert.equal(await ids({ workflowName: w, status: 'success' }), 'da');
    assert.equal(await ids({ resourceId: ann, status: 'success' }), 'ea');
    assert.equal(await ids({ workflowName: w, resourceId: ann, status: 'suspended' }), 'c');
    assert.equal(await ids({ workflowName: other, resourceId: bob }), '');
    assert.equal(await ids({ workflowName: w, status: 'failed' }), '');
    assert.equal(await ids({ workflowName: `${w}x` }), '');
  });

  await check('a range of dates includes both of its ends', async () => {
    assert.equal(await ids({ workflowName: w, fromDate: at(2) }), 'bdc');
    assert.equal(await ids({ workflowName: w, toDate: at(2) }), 'ca');
    assert.equal(await ids({ workflowName: w, fromDate: at(2), toDate: at(3) }), 'dc');
    assert.equal(await ids({ workflowName: w, fromDate: at(5) }), '');
    assert.equal(await ids({ workflowName: w, fromDate: at(2), status: 'success' }), 'd');
  });

  await check('the runs of every workflow are listed together', async () => {
    const { runs } = await workflows.listWorkflowRuns();
    const mine = runs.filter(({ workflowName }) => [w, other].includes(workflowName));
    assert.equal(mine.map(({ runId }) => runId).join(''), 'ebdca');
  });

  await check('the status of a run is the one that was merged last', async () => {
    await workflows.updateWorkflowState({
      workflowName: w,
      runId: 'b',
      opts: { status: 'failed' },
    });
    assert.equal(await ids({ workflowName: w, status: 'failed' }), 'b');
    assert.equal(await ids({ workflowName: w, status: 'running' }), '');
  });
}

async function paging({ workflows, fresh, check }) {
  const workflowName = fresh('pages');
  for (const n of range(0, 7)) {
    const runId = `r${n}`;
    const status = n % 2 ? 'success' : 'failed';
    const state = snapshot(runId, { status });
    await workflows.persistWorkflowSnapshot({
      workflowName,
      runId,
      snapshot: state,
      createdAt: at(n),
    });
  }
  const page = async (question) => {
    const { runs, total } = await workflows.listWorkflowRuns({ workflowName, ...question });
    return [runs.map(({ runId }) => runId.slice(1)).join(''), total];
  };

  await check('pages of runs follow each other without gap or overlap', async () => {
    const pages = [];
    for (const number of range(0, 4)) pages.push(await page({ perPage: 3, page: number }));
    assert.deepEqual(pages, [
      ['654', 7],
      ['321', 7],
      ['0', 7],
      ['', 7],
    ]);
  });

  await check('everything comes when page or perPage is missing, or perPage is false', async () => {
    const all = ['6543210', 7];
    assert.deepEqual(await page({ perPage: 3 }), all);
    assert.deepEqual(await page({ page: 1 }), all);
    assert.deepEqual(await page({ perPage: false, page: 0 }), all);
  });

  await check('the total counts what the filters leave on all pages', async () => {
    assert.deepEqual(await page({ status: 'success', perPage: 2, page: 1 }), ['1', 3]);
    assert.deepEqual(await page({ fromDate: at(2), perPage: 2, page: 0 }), ['65', 5]);
  });
}

async function finding({ workflows, fresh, check }) {
  await check('a run is found by its id, with its workflow and without', async () => {
    const workflowName = fresh('find');
    const runId = `${workflowName}_run`;
    const expected = {
      workflowName,
      runId,
      snapshot: snapshot(runId),
      createdAt: at(0),
      updatedAt: at(1),
      resourceId: 'ann',
    };
    await workflows.persistWorkflowSnapshot(expected);
    assert.deepEqual(await workflows.getWorkflowRunById({ runId, workflowName }), expected);
    assert.deepEqual(await workflows.getWorkflowRunById({ runId }), expected);
    assert.equal(await workflows.getWorkflowRunById({ runId: `${runId}x` }), null);
    assert.equal(await workflows.getWorkflowRunById({ runId, workflowName: 'x' }), null);
  });

  await check('runs of two workflows may share an id', async () => {
    const [one, two] = [fresh('one'), fresh('two')];
    for (const workflowName of [one, two]) {
      const state = snapshot('same', { value: { of: workflowName } });
      await workflows.persistWorkflowSnapshot({ workflowName, runId: 'same', snapshot: state });
    }
    for (const workflowName of [one, two]) {
      const found = await workflows.loadWorkflowSnapshot({ workflowName, runId: 'same' });
      assert.deepEqual(found.value, { of: workflowName });
    }
  });
}

async function deleting({ workflows, fresh, check }) {
  await check('deleting a run removes exactly that one', async () => {
    const [w, other] = [fresh('delete'), fresh('kept')];
    for (const [workflowName, runId] of [
      [w, 'a'],
      [w, 'b'],
      [other, 'a'],
    ]) {
      const state = snapshot(runId);
      await workflows.persistWorkflowSnapshot({ workflowName, runId, snapshot: state });
    }
    await workflows.deleteWorkflowRunById({ workflowName: w, runId: 'a' });
    assert.equal(await workflows.getWorkflowRunById({ workflowName: w, runId: 'a' }), null);
    assert.equal((await workflows.listWorkflowRuns({ workflowName: w })).runs[0].runId, 'b');
    assert.equal((await workflows.listWorkflowRuns({ workflowName: other })).total, 1);
  });

  await check('deleting a run that does not exist changes nothing', async () => {
    const run = { workflowName: fresh('gone'), runId: 'r' };
    assert.equal(await workflows.deleteWorkflowRunById(run), undefined);
  });

  await check('a deleted run can be begun again, with a new creation date', async () => {
    const run = { workflowName: fresh('anew'), runId: 'r' };
    const persist = (minutes) =>
      workflows.persistWorkflowSnapshot({
        ...run,
        snapshot: snapshot('r'),
        createdAt: at(minutes),
      });
    await persist(1);
    await workflows.deleteWorkflowRunById(run);
    await persist(2);
    assert.deepEqual((await workflows.getWorkflowRunById(run)).createdAt, at(2));
  });
}
