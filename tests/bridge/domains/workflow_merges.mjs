// ConvexStore: results and states that are merged into runs of workflows.
import assert from 'node:assert/strict';
import { callStorage, failure, range } from '../harness.mjs';
import { at } from './records.mjs';
import { openWorkflows, snapshot, success, TABLE } from './workflow_runs.mjs';

export const name = 'workflow_merges';

export async function run({ connection, namespace, check, tidy }) {
  const { workflows, fresh } = await openWorkflows({ connection, namespace, tidy });
  const context = { connection, workflows, fresh, check };
  await results(context);
  await states(context);
}

async function results({ connection, workflows, fresh, check }) {
  const begin = async (label, context = {}, rest = {}) => {
    const workflowName = fresh(label);
    const state = snapshot('r', { context, ...rest });
    await workflows.persistWorkflowSnapshot({ workflowName, runId: 'r', snapshot: state });
    return workflowName;
  };
  const report = (workflowName, stepId, result, requestContext = {}) =>
    workflows.updateWorkflowResults({ workflowName, runId: 'r', stepId, result, requestContext });
  const load = (workflowName) => workflows.loadWorkflowSnapshot({ workflowName, runId: 'r' });

  await check('a result is merged into the context, which comes back whole', async () => {
    const w = await begin('result', { input: { x: 1 }, before: success('b') });
    const context = await report(w, 'step', success({ y: [1, null] }));
    const expected = { input: { x: 1 }, before: success('b'), step: success({ y: [1, null] }) };
    assert.deepEqual(context, expected);
    assert.deepEqual((await load(w)).context, expected);
  });

  await check('a result changes nothing else of the snapshot', async () => {
    const w = await begin('only', {}, { value: { kept: 'yes' }, suspendedPaths: { a: [1] } });
    await report(w, 'step', success(1));
    const expected = snapshot('r', {
      context: { step: success(1) },
      value: { kept: 'yes' },
      suspendedPaths: { a: [1] },
      requestContext: {},
    });
    assert.deepEqual(await load(w), expected);
  });

  await check('a result replaces the one of the same step', async () => {
    const w = await begin('replace', { step: success({ old: 1 }) });
    const failed = { status: 'failed', payload: {}, error: { message: 'no' }, startedAt: 1 };
    assert.deepEqual(await report(w, 'step', failed), { step: failed });
    assert.deepEqual(await report(w, 'step', success('text')), { step: success('text') });
  });

  await check('the request context is merged at the top level', async () => {
    const w = await begin('context', {}, { requestContext: { kept: 1, replaced: { a: 1 } } });
    await report(w, 'one', success(1), { replaced: { b: 2 } });
    await report(w, 'two', success(2), { added: [null] });
    const expected = { kept: 1, replaced: { b: 2 }, added: [null] };
    assert.deepEqual((await load(w)).requestContext, expected);
  });

  await check('outputs that are arrays are merged element by element', async () => {
    const cases = [
      [
        [1, null, 3],
        [null, 2],
        [1, 2, 3],
      ],
      [
        [1, 2, 3],
        [null, null, null, 4],
        [1, 2, 3, 4],
      ],
      [
        [null, null, null],
        [null, { n: 1 }, null],
        [null, { n: 1 }, null],
      ],
      [[], [null, 'b'], [null, 'b']],
      [['a', 'b'], [], ['a', 'b']],
      [
        [0, false, ''],
        [null, null, null],
        [0, false, ''],
      ],
      [
        [1, 2, 3],
        [0, false, ''],
        [0, false, ''],
      ],
    ];
    for (const [index, [old, added, merged]] of cases.entries()) {
      const w = await begin(`merge${index}`, { step: { ...success(old), old: true } });
      const context = await report(w, 'step', { ...success(added), status: 'running', new: true });
      const expected = { ...success(merged), status: 'running', old: true, new: true };
      assert.deepEqual(context, { step: expected }, JSON.stringify([old, added]));
    }
  });

  await check('a pending marker empties what waits and leaves the rest alone', async () => {
    const P = { __mastra_pending__: true };
    const asked = { status: 'suspended', suspendPayload: { q: 1 } };
    const since = { status: 'suspended', suspendedAt: 5 };
    const bare = { status: 'suspended' };
    const done = { status: 'success', suspendPayload: { q: 1 } };
    const cases = [
      [
        [1, 2, 3, 4, null],
        [P, 99, null, null, P, P],
        [1, 2, 3, 4, null, null],
      ],
      [
        [asked, since, bare, done],
        [P, P, P, P],
        [null, null, bare, done],
      ],
      [
        [asked, asked],
        [P, null],
        [null, asked],
      ],
      [
        [P, P, P],
        [P, null, 5],
        [null, P, P],
      ],
      [[], [P, 1, null], [null, null, null]],
    ];
    for (const [index, [old, added, merged]] of cases.entries()) {
      const before = { ...success(old), old: true };
      const w = await begin(`pending${index}`, { step: before });
      const context = await report(w, 'step', { status: 'running', output: added, new: true });
      assert.deepEqual(context, { step: { ...before, output: merged } }, JSON.stringify(added));
    }
  });

  await check('what only looks like a pending marker is a value', async () => {
    const values = [
      { __mastra_pending__: true, more: 1 },
      { __mastra_pending__: false },
      { __mastra_pending__: 1 },
      { pending: true },
      [true],
    ];
    const w = await begin('looks', { step: success(values.map((_, n) => n)) });
    assert.deepEqual((await report(w, 'step', success(values))).step.output, values);
  });

  await check('an array replaces and is replaced by what is none', async () => {
    const w = await begin('kinds', { step: success({ a: 1 }) });
    assert.deepEqual((await report(w, 'step', success([1, null]))).step, success([1, null]));
    assert.deepEqual((await report(w, 'step', success({ b: 2 }))).step, success({ b: 2 }));
    const marked = success([{ __mastra_pending__: true }]);
    assert.deepEqual((await report(w, 'first', marked)).first, marked);
  });

  await check('steps that report at the same time all take effect', async () => {
    const w = await begin('parallel');
    const numbers = range(0, 20);
    await Promise.all(numbers.map((n) => report(w, `step${n}`, success(n), { [`key${n}`]: n })));
    const { context, requestContext } = await load(w);
    assert.deepEqual(context, Object.fromEntries(numbers.map((n) => [`step${n}`, success(n)])));
    assert.deepEqual(requestContext, Object.fromEntries(numbers.map((n) => [`key${n}`, n])));
  });

  await check('iterations of one step that report at the same time all take effect', async () => {
    const w = await begin('foreach', { each: success(Array(20).fill(null)) });
    const numbers = range(0, 20);
    const iteration = (n) =>
      report(w, 'each', success(numbers.map((m) => (m === n ? { n } : null))));
    await Promise.all(numbers.map(iteration));
    assert.deepEqual(
      (await load(w)).context.each.output,
      numbers.map((n) => ({ n })),
    );
  });

  await check('a merge stamps the run and leaves its creation date', async () => {
    const workflowName = fresh('stamp');
    const dates = { createdAt: at(1), updatedAt: at(2) };
    const state = snapshot('r');
    await workflows.persistWorkflowSnapshot({
      workflowName,
      runId: 'r',
      snapshot: state,
      ...dates,
    });
    const before = Date.now();
    await report(workflowName, 'step', success(1));
    const run = await workflows.getWorkflowRunById({ workflowName, runId: 'r' });
    assert.deepEqual(run.createdAt, at(1));
    // The deployment's clock stamps it.
    assert.ok(run.updatedAt.getTime() > before - 60_000);
  });

  await check('a result for a run that does not exist is an error', async () => {
    const w = fresh('missing');
    await failure(report(w, 'step', success(1)), 'Workflow snapshot not found for runId r');
    assert.equal(await load(w), null);
  });

  await check('a snapshot without context cannot be merged into', async () => {
    const workflowName = fresh('hollow');
    const hollow = { runId: 'r', status: 'running' };
    await workflows.persistWorkflowSnapshot({ workflowName, runId: 'r', snapshot: hollow });
    const text = 'Snapshot for runId r is missing or has invalid context';
    await failure(report(workflowName, 'step', success(1)), text);
    const state = { workflowName, runId: 'r', opts: { status: 'failed' } };
    await failure(workflows.updateWorkflowState(state), text);
    assert.deepEqual(await load(workflowName), hollow);
  });

  await check('a snapshot that an old version stored as an object is read and merged', async () => {
    const workflowName = fresh('object');
    const record = {
      id: `${workflowName}-r`,
      workflow_name: workflowName,
      run_id: 'r',
      snapshot: { runId: 'r', status: 'running', context: { a: { status: 'success' } } },
      createdAt: at(0).toISOString(),
      updatedAt: at(0).toISOString(),
    };
    const reply = { op: 'insert', tableName: TABLE, record };
    await callStorage(connection, reply);
    assert.deepEqual(await load(workflowName), record.snapshot);
    const context = await report(workflowName, 'b', success(1));
    assert.deepEqual(context, { a: { status: 'success' }, b: success(1) });
    assert.deepEqual((await load(workflowName)).context, context);
  });
}

async function states({ workflows, fresh, check }) {
  const begin = async (label, rest) => {
    const workflowName = fresh(label);
    const state = snapshot('r', rest);
    await workflows.persistWorkflowSnapshot({ workflowName, runId: 'r', snapshot: state });
    return { workflowName, runId: 'r' };
  };

  await check('members of a snapshot are replaced whole, and all of it comes back', async () => {
    const run = await begin('state', { suspendedPaths: { a: [0] }, value: { kept: 'yes' } });
    const opts = {
      status: 'suspended',
      suspendedPaths: { b: [1] },
      waitingPaths: {},
      resumeLabels: { go: { stepId: 'b' } },
      result: success({ x: 1 }),
    };
    const expected = snapshot('r', { value: { kept: 'yes' }, ...opts });
    assert.deepEqual(await workflows.updateWorkflowState({ ...run, opts }), expected);
    assert.deepEqual(await workflows.loadWorkflowSnapshot(run), expected);
  });

  await check('the error of a run is stored with its status', async () => {
    const run = await begin('error');
    const error = { name: 'Error', message: 'kettle is empty', stack: 'Error: …\n    at brew' };
    const merged = await workflows.updateWorkflowState({
      ...run,
      opts: { status: 'failed', error },
    });
    assert.deepEqual([merged.status, merged.error], ['failed', error]);
  });

  await check('state and results that change at the same time all take effect', async () => {
    const run = await begin('both', { context: {} });
    const change = (n) => workflows.updateWorkflowState({ ...run, opts: { [`member${n}`]: n } });
    const report = (n) => {
      const result = { stepId: `step${n}`, result: success(n), requestContext: {} };
      return workflows.updateWorkflowResults({ ...run, ...result });
    };
    await Promise.all(range(0, 10).flatMap((n) => [change(n), report(n)]));
    const expected = snapshot('r', {
      context: Object.fromEntries(range(0, 10).map((n) => [`step${n}`, success(n)])),
      requestContext: {},
      ...Object.fromEntries(range(0, 10).map((n) => [`member${n}`, n])),
    });
    assert.deepEqual(await workflows.loadWorkflowSnapshot(run), expected);
  });

  await check(
    'the state of a run that does not exist is an error and creates nothing',
    async () => {
      const run = { workflowName: fresh('stateless'), runId: 'r' };
      const update = workflows.updateWorkflowState({ ...run, opts: { status: 'failed' } });
      await failure(update, 'Workflow snapshot not found for runId r');
      assert.equal(await workflows.loadWorkflowSnapshot(run), null);
    },
  );
}
