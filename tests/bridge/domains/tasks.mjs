// Background tasks for the domains of background tasks.
import { openStore } from './adapters.mjs';
import { at, removeRows } from './records.mjs';

export const TABLE = 'mastra_background_tasks';

export const STATUSES = [
  'pending',
  'running',
  'suspended',
  'completed',
  'failed',
  'cancelled',
  'timed_out',
];

/** What distinguishes listed tasks of one run of the checks. */
export const labels = ({ tasks }) => tasks.map(({ id }) => id.split('_').at(-1)).join(' ');

/** The members of a task that are there. */
export const present = (task) =>
  Object.fromEntries(Object.entries(task).filter(([, value]) => value !== undefined));

/** The domain, a maker of tasks that are removed at the end, and one of agents to tell them by. */
export async function openTasks({ connection, namespace, tidy }) {
  const tasks = await openStore(connection).getStore('backgroundTasks');
  const ids = new Set();
  tidy(() => removeRows(connection, TABLE, [...ids]));
  const task = (label, minutes = 0, rest = {}) => {
    const id = `${namespace}_${label}`;
    ids.add(id);
    return {
      id,
      status: 'pending',
      toolName: 'brew',
      toolCallId: 'call',
      args: {},
      agentId: 'helper',
      runId: 'run',
      retryCount: 0,
      maxRetries: 3,
      timeoutMs: 60_000,
      createdAt: at(minutes),
      ...rest,
    };
  };
  const create = async (...given) => {
    for (const each of given) await tasks.createTask(each);
    return given[0];
  };
  const agent = (label) => ({ agentId: `${namespace}-${label}` });
  return { tasks, task, create, agent };
}
