// ConvexStore: scores.
import assert from 'node:assert/strict';
import {
  assertNames,
  callStorage,
  failure,
  outcome,
  range,
  withoutSystemFields,
} from '../harness.mjs';
import { openStore } from './adapters.mjs';
import { at, removeRows } from './records.mjs';

export const name = 'scores';

const TABLE = 'mastra_scorers';

export async function run({ connection, namespace, check, tidy }) {
  const scores = await openStore(connection).getStore('scores');
  const ids = [];
  tidy(() => removeRows(connection, TABLE, ids));
  const save = async (payload) => {
    const { score } = await scores.saveScore(payload);
    ids.push(score.id);
    return score;
  };
  // Rows with dates of their own: the adapter stamps what it saves with the present.
  const insert = async (...rows) => {
    ids.push(...rows.map(({ id }) => id));
    await callStorage(connection, { op: 'batchInsert', tableName: TABLE, records: rows });
  };
  const payload = (label, rest = {}) => ({
    scorerId: `${namespace}_${label}_scorer`,
    entityId: `${namespace}_${label}_agent`,
    entityType: 'AGENT',
    runId: `${namespace}_${label}_run`,
    source: 'TEST',
    score: 0.5,
    scorer: { id: 'tone', name: 'Tone' },
    entity: { id: 'agent' },
    input: [{ role: 'user', content: 'hi' }],
    output: { text: 'hello' },
    ...rest,
  });
  const row = (label, n, rest = {}) => ({
    ...payload(label, { score: n, ...rest }),
    id: `${namespace}_${label}_${n}`,
    createdAt: at(n).toISOString(),
    updatedAt: at(n).toISOString(),
  });
  const context = { connection, scores, save, insert, payload, row, check };
  await saving(context);
  await listing(context);
  await tenants(context);
  await paging(context);
}

const numbers = ({ scores }) => scores.map(({ score }) => score);
const ALL = { page: 0, perPage: false };

async function saving({ scores, save, payload, check }) {
  const read = async (id) => withoutSystemFields(await scores.getScoreById({ id }));

  await check('a saved score comes back with an id and dates', async () => {
    const given = payload('save');
    const before = Date.now();
    const { id, createdAt, updatedAt, ...saved } = await save(given);
    assert.ok(id);
    assert.ok(createdAt.getTime() >= before);
    assert.deepEqual(updatedAt, createdAt);
    assert.deepEqual(saved, given);
    assert.deepEqual(await read(id), { ...given, id, createdAt, updatedAt });
  });

  await check('every member of a score comes back', async () => {
    const text = (label) => [label, `${label} öäü 🙂`];
    const texts = Object.fromEntries(
      [
        'traceId',
        'spanId',
        'reason',
        'preprocessPrompt',
        'extractPrompt',
        'generateScorePrompt',
        'generateReasonPrompt',
        'analyzePrompt',
        'reasonPrompt',
        'resourceId',
        'threadId',
        'organizationId',
        'projectId',
        'batchId',
        'datasetId',
        'datasetItemId',
      ].map(text),
    );
    const value = (label) => [label, { of: label, list: [1, null, 0.5, true, 'ü'], empty: {} }];
    const values = Object.fromEntries(
      [
        'preprocessStepResult',
        'extractStepResult',
        'analyzeStepResult',
        'metadata',
        'additionalContext',
        'requestContext',
      ].map(value),
    );
    const given = payload('whole', { ...texts, ...values, source: 'LIVE', score: -1.25 });
    const { id, createdAt, updatedAt } = await save(given);
    assert.deepEqual(await read(id), { ...given, id, createdAt, updatedAt });
  });

  await check('input and output may be any JSON', async () => {
    for (const value of ['text', '{"not":"parsed"}', 0, false, [], {}, [[1], { a: null }]]) {
      const { id } = await save(payload('json', { input: value, output: value }));
      const { input, output } = await read(id);
      assert.deepEqual([input, output], [value, value]);
    }
  });

  await check('a score keeps its number exactly', async () => {
    for (const score of [0, 1, -0.1, 0.30000000000000004, 1e-12, 123456789.125]) {
      const { id } = await save(payload('exact', { score }));
      assert.equal((await read(id)).score, score);
    }
  });

  await check('an id that is given is not used, so saving again adds a score', async () => {
    const given = payload('again', { id: 'mine' });
    const [first, second] = [await save(given), await save(given)];
    assert.equal(new Set([first.id, second.id, 'mine']).size, 3);
    const { runId } = given;
    assert.equal((await scores.listScoresByRunId({ runId, pagination: ALL })).pagination.total, 2);
  });

  await check('a score that does not exist is null', async () => {
    assert.equal(await scores.getScoreById({ id: 'nobody' }), null);
  });

  await check('a score without a scorer or a number is refused', async () => {
    for (const missing of ['scorerId', 'score', 'scorer', 'runId', 'source']) {
      const { [missing]: _, ...rest } = payload('missing');
      await failure(scores.saveScore(rest));
    }
    const { runId } = payload('missing');
    assert.equal((await scores.listScoresByRunId({ runId, pagination: ALL })).pagination.total, 0);
  });

  await check('a member name that Convex reserves is refused by name or kept', async () => {
    for (const member of ['$schema', 'ключ']) {
      const metadata = { [member]: 1 };
      const { value, refusal } = await outcome(save(payload('reserved', { metadata })));
      if (refusal) assertNames(refusal, member);
      else assert.deepEqual((await read(value.id)).metadata, metadata);
    }
  });

  await check('scores saved at the same time are all kept', async () => {
    const given = payload('parallel');
    await Promise.all(range(0, 20).map((score) => save({ ...given, score })));
    const { runId } = given;
    const listed = await scores.listScoresByRunId({ runId, pagination: ALL });
    assert.deepEqual(
      numbers(listed).sort((a, b) => a - b),
      range(0, 20),
    );
  });

  await check('scores by span are not something that this adapter has', async () => {
    const span = { traceId: 't', spanId: 's', pagination: ALL };
    const error = await failure(scores.listScoresBySpan(span));
    assert.equal(error.id, 'SCORES_STORAGE_GET_SCORES_BY_SPAN_NOT_IMPLEMENTED');
  });
}

async function listing({ scores, insert, payload, row, check }) {
  const { scorerId, runId, entityId } = payload('list');
  await insert(
    row('list', 2),
    row('list', 0),
    row('list', 3, { entityType: 'WORKFLOW', source: 'LIVE' }),
    row('list', 1, { entityId: `${entityId}_other`, source: 'LIVE' }),
    row('list', 4, { scorerId: `${scorerId}_other` }),
    row('list', 5, { runId: `${runId}_other`, scorerId: `${scorerId}_other` }),
  );
  const byScorer = async (rest = {}) =>
    numbers(await scores.listScoresByScorerId({ scorerId, pagination: ALL, ...rest }));

  await check('scores of a scorer are listed newest first', async () => {
    assert.deepEqual(await byScorer(), [3, 2, 1, 0]);
  });

  await check('scores of a scorer are narrowed by entity, type and source', async () => {
    assert.deepEqual(await byScorer({ entityId }), [3, 2, 0]);
    assert.deepEqual(await byScorer({ entityType: 'AGENT' }), [2, 1, 0]);
    assert.deepEqual(await byScorer({ entityId, entityType: 'AGENT' }), [2, 0]);
    assert.deepEqual(await byScorer({ source: 'LIVE' }), [3, 1]);
    assert.deepEqual(await byScorer({ source: 'TEST' }), [2, 0]);
    assert.deepEqual(await byScorer({ entityId, entityType: 'WORKFLOW', source: 'LIVE' }), [3]);
    assert.deepEqual(await byScorer({ entityId, source: 'NEVER' }), []);
  });

  await check('scores of a run are those of every scorer', async () => {
    const listed = await scores.listScoresByRunId({ runId, pagination: ALL });
    assert.deepEqual(numbers(listed), [4, 3, 2, 1, 0]);
  });

  await check('scores of an entity are those of its type', async () => {
    const list = async (entityType) =>
      numbers(await scores.listScoresByEntityId({ entityId, entityType, pagination: ALL }));
    assert.deepEqual(await list('AGENT'), [5, 4, 2, 0]);
    assert.deepEqual(await list('WORKFLOW'), [3]);
    assert.deepEqual(await list('STEP'), []);
  });

  await check('nobody has no scores', async () => {
    const none = { total: 0, page: 0, perPage: 10, hasMore: false };
    const pagination = { page: 0, perPage: 10 };
    for (const listed of [
      await scores.listScoresByScorerId({ scorerId: `${scorerId}_none`, pagination }),
      await scores.listScoresByRunId({ runId: `${runId}_none`, pagination }),
      await scores.listScoresByEntityId({ entityId: 'none', entityType: 'AGENT', pagination }),
    ]) {
      assert.deepEqual(listed, { scores: [], pagination: none });
    }
  });

  await check('a listed score is what is read by its id', async () => {
    const { scores: listed } = await scores.listScoresByScorerId({ scorerId, pagination: ALL });
    for (const score of listed) {
      assert.deepEqual(await scores.getScoreById({ id: score.id }), score);
    }
    assert.deepEqual(listed[0].createdAt, at(3));
  });

  await check('scores of one instant are listed as they came', async () => {
    const same = { createdAt: at(0).toISOString(), updatedAt: at(0).toISOString() };
    for (const n of range(0, 5)) await insert({ ...row('same', n), ...same });
    const { runId: sameRun } = payload('same');
    const listed = await scores.listScoresByRunId({ runId: sameRun, pagination: ALL });
    assert.deepEqual(numbers(listed), [0, 1, 2, 3, 4]);
  });
}

async function tenants({ scores, insert, payload, row, check }) {
  const { scorerId, runId, entityId } = payload('tenant');
  await insert(
    row('tenant', 0),
    row('tenant', 1, { organizationId: 'o' }),
    row('tenant', 2, { organizationId: 'o', projectId: 'p' }),
    row('tenant', 3, { organizationId: 'x', projectId: 'p' }),
  );
  const cases = [
    [undefined, [3, 2, 1, 0]],
    [{}, [3, 2, 1, 0]],
    [{ organizationId: 'o' }, [2, 1]],
    [{ projectId: 'p' }, [3, 2]],
    [{ organizationId: 'o', projectId: 'p' }, [2]],
    [{ organizationId: 'nobody' }, []],
  ];
  for (const [filters, expected] of cases) {
    const sentence = `scores of ${JSON.stringify(filters) ?? 'every tenant'} are listed everywhere`;
    await check(sentence, async () => {
      for (const listed of [
        await scores.listScoresByScorerId({ scorerId, filters, pagination: ALL }),
        await scores.listScoresByRunId({ runId, filters, pagination: ALL }),
        await scores.listScoresByEntityId({
          entityId,
          entityType: 'AGENT',
          filters,
          pagination: ALL,
        }),
      ]) {
        assert.deepEqual(numbers(listed), expected);
        assert.equal(listed.pagination.total, expected.length);
      }
    });
  }
}

async function paging({ scores, insert, payload, row, check }) {
  const { scorerId, runId, entityId } = payload('page');
  await insert(...range(0, 5).map((n) => row('page', n)));
  const list = async (page, perPage) => {
    const pagination = { page, perPage };
    const lists = [
      await scores.listScoresByScorerId({ scorerId, pagination }),
      await scores.listScoresByRunId({ runId, pagination }),
      await scores.listScoresByEntityId({ entityId, entityType: 'AGENT', pagination }),
    ];
    const [first, ...others] = lists.map((each) => [numbers(each), each.pagination]);
    for (const other of others) assert.deepEqual(other, first);
    return first;
  };
  const newest = [4, 3, 2, 1, 0];

  await check('a page of scores tells its place and what follows', async () => {
    for (const page of range(0, 4)) {
      const hasMore = page < 2;
      const expected = newest.slice(2 * page, 2 * page + 2);
      const pagination = { total: 5, page, perPage: 2, hasMore };
      assert.deepEqual(await list(page, 2), [expected, pagination]);
    }
  });

  await check('a page that holds exactly all scores is the last', async () => {
    const pagination = { total: 5, page: 0, perPage: 5, hasMore: false };
    assert.deepEqual(await list(0, 5), [newest, pagination]);
  });

  await check('perPage false puts all scores on one page', async () => {
    const pagination = { total: 5, page: 0, perPage: false, hasMore: false };
    assert.deepEqual(await list(0, false), [newest, pagination]);
  });

  await check('perPage 0 counts the scores and shows none', async () => {
    const [shown, { total, perPage }] = await list(0, 0);
    assert.deepEqual([shown, total, perPage], [[], 5, 0]);
  });

  await check('a page before the first is refused with an id', async () => {
    const error = await failure(list(-1, 2), 'page must be >= 0');
    assert.equal(error.id, 'MASTRA_STORAGE_CONVEX_LIST_SCORES_INVALID_PAGINATION');
  });

  await check('120 scores are listed whole', async () => {
    const records = range(0, 120).map((n) => row('many', n));
    await insert(...records);
    const { runId: many } = payload('many');
    const listed = await scores.listScoresByRunId({ runId: many, pagination: ALL });
    assert.deepEqual(numbers(listed), range(0, 120).reverse());
    const last = await scores.listScoresByRunId({
      runId: many,
      pagination: { page: 2, perPage: 50 },
    });
    assert.deepEqual(numbers(last), range(0, 20).reverse());
    assert.deepEqual(last.pagination, { total: 120, page: 2, perPage: 50, hasMore: false });
  });
}
