// Threads, messages and points in time for the memory domains.
import { callStorage } from '../harness.mjs';

const START_MS = Date.UTC(2025, 0, 31, 12);

/** A fixed point in time, `minutes` after the first one. */
export function at(minutes) {
  return new Date(START_MS + minutes * 60_000);
}

export function thread(id, resourceId, minutes = 0, rest = {}) {
  const times = { createdAt: at(minutes), updatedAt: at(minutes) };
  return { id, resourceId, title: `Title of ${id}`, metadata: {}, ...times, ...rest };
}

export function message(
  id,
  threadId,
  resourceId,
  minutes,
  { text = `Text of ${id}`, ...rest } = {},
) {
  const { metadata, parts = [{ type: 'text', text }], ...members } = rest;
  const content = { format: 2, parts, ...(metadata === undefined ? {} : { metadata }) };
  return {
    id,
    threadId,
    resourceId,
    role: 'user',
    type: 'v2',
    content,
    createdAt: at(minutes),
    ...members,
  };
}

export const idsOf = (rows) => rows.map(({ id }) => id);

/** Remove rows by id, in requests of a size that every deployment takes. */
export async function removeRows(connection, tableName, ids) {
  for (let start = 0; start < ids.length; start += 500) {
    const part = ids.slice(start, start + 500);
    await callStorage(connection, { op: 'deleteMany', tableName, ids: part });
  }
}

/** Remove every thread and message of the resources, also those of threads that never existed. */
export async function removeMemory(connection, resourceIds) {
  for (const resourceId of resourceIds) {
    for (const tableName of ['mastra_messages', 'mastra_threads']) {
      const filters = [{ field: 'resourceId', value: resourceId }];
      const rows = await callStorage(connection, { op: 'queryTable', tableName, filters });
      await removeRows(connection, tableName, idsOf(rows));
    }
  }
  await removeRows(connection, 'mastra_resources', resourceIds);
}
