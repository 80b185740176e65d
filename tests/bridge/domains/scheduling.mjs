// Schedules for the schedule domains.
import { openStore } from './adapters.mjs';

export const AGENT = { type: 'agent', agentId: 'helper', prompt: 'Good morning' };

export const workflow = (workflowId, rest = {}) => ({ type: 'workflow', workflowId, ...rest });

/** What distinguishes schedules of one run of the checks. */
export const labels = (found) => found.map(({ id }) => id.split('_').at(-1)).join(' ');

/** The domain, and a maker of schedules that are deleted at the end. */
export async function openSchedules({ connection, namespace, tidy }) {
  const schedules = await openStore(connection).getStore('schedules');
  const ids = new Set();
  tidy(async () => {
    for (const id of ids) await schedules.deleteSchedule(id);
  });
  const schedule = (label, rest = {}) => {
    const id = `${namespace}_${label}`;
    ids.add(id);
    return {
      id,
      target: AGENT,
      cron: '0 8 * * *',
      status: 'active',
      nextFireAt: 4102444800000,
      createdAt: 10,
      updatedAt: 20,
      ...rest,
    };
  };
  const create = async (...given) => {
    for (const each of given) await schedules.createSchedule(each);
    return given[0];
  };
  return { schedules, schedule, create };
}
