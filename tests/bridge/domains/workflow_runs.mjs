// Runs of workflows for the workflow domains.
import { callStorage } from '../harness.mjs';
import { openStore } from './adapters.mjs';
import { idsOf, removeRows } from './records.mjs';

export const TABLE = 'mastra_workflow_snapshot';

/** The domain, and a maker of workflow names whose runs are removed at the end. */
export async function openWorkflows({ connection, namespace, tidy }) {
  const workflows = await openStore(connection).getStore('workflows');
  const names = [];
  tidy(async () => {
    for (const workflowName of names) {
      const filters = [{ field: 'workflow_name', value: workflowName }];
      const rows = await callStorage(connection, { op: 'queryTable', tableName: TABLE, filters });
      await removeRows(connection, TABLE, idsOf(rows));
    }
  });
  const fresh = (label) => {
    names.push(`${namespace}_${label}`);
    return names.at(-1);
  };
  return { workflows, fresh };
}

/** The state of a run as the workflow engine writes it. */
export function snapshot(runId, rest = {}) {
  return {
    runId,
    status: 'running',
    value: {},
    context: { input: { city: 'Zürich' } },
    serializedStepGraph: [],
    activePaths: [],
    activeStepsPath: {},
    suspendedPaths: {},
    resumeLabels: {},
    waitingPaths: {},
    timestamp: 1738324800000,
    ...rest,
  };
}

/** The result of a step that ended well. */
export const success = (output) => ({
  status: 'success',
  payload: { n: 1 },
  output,
  startedAt: 1738324800000,
  endedAt: 1738324800500,
});
