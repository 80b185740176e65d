/**
 * Storage operations that only schedules and the history of their triggers have.
 *
 * Times are numbers: milliseconds since the epoch.
 */
import type { Value } from "convex/values";
import { byRecordId, type WritableDocuments } from "../lib/documents";
import { conflict, invalidArgument, notFound } from "../lib/errors";
import { DELETE_BATCH_ROWS, DUE_SCHEDULES_DEFAULT } from "../lib/limits";
import { isFiniteNumber } from "../lib/values";
import { asKey, recordArgument, rowsReply, type Reply, type Request } from "./requests";
import type { TableOperation } from "./routes";

const SCHEDULES = "mastra_schedules";
const TRIGGERS = "mastra_schedule_triggers";

/** Insert a schedule; one with its id is a conflict. */
async function createSchedule(documents: WritableDocuments, request: Request): Promise<Reply> {
  return await insertNew(documents, SCHEDULES, request, "Schedule");
}

/** Insert a trigger; one with its id is a conflict. */
async function recordScheduleTrigger(
  documents: WritableDocuments,
  request: Request,
): Promise<Reply> {
  return await insertNew(documents, TRIGGERS, request, "Schedule trigger");
}

/** Return the active schedules whose time has come, the longest due first. */
async function listDueSchedules(documents: WritableDocuments, request: Request): Promise<Reply> {
  const range = {
    index: "by_status_next_fire_at",
    equals: ["active"],
    lte: numberArgument(request, "now"),
  };
  return rowsReply(await documents.take(SCHEDULES, range, limitOf(request)));
}

/** Claim a fire: move an active schedule on if it still stands where the caller saw it. */
async function updateScheduleNextFire(
  documents: WritableDocuments,
  request: Request,
): Promise<Reply> {
  const row = await documents.first(SCHEDULES, byRecordId(request["id"]));
  if (row?.status !== "active" || row.next_fire_at !== request["expectedNextFireAt"]) {
    return { ok: true, result: false };
  }
  await documents.patch(SCHEDULES, row, {
    next_fire_at: request["newNextFireAt"],
    last_fire_at: request["lastFireAt"],
    last_run_id: request["lastRunId"],
    updated_at: Date.now(),
  });
  return { ok: true, result: true };
}

/** Change columns of a schedule; answer with all of it. */
async function updateSchedule(documents: WritableDocuments, request: Request): Promise<Reply> {
  const { id: _id, ...changes } = recordArgument(request, "patch");
  const row = await documents.first(SCHEDULES, byRecordId(request["id"]));
  if (row === null) throw notFound(`Schedule ${String(request["id"])} not found`);
  return { ok: true, result: await documents.patch(SCHEDULES, row, changes) };
}

/** Return a schedule's triggers, newest first; `from` is inclusive and `to` is not. */
async function listScheduleTriggers(
  documents: WritableDocuments,
  request: Request,
): Promise<Reply> {
  const range = {
    ...triggersOf(request),
    gte: optionalNumberArgument(request, "fromActualFireAt"),
    lt: optionalNumberArgument(request, "toActualFireAt"),
    descending: true,
  };
  return rowsReply(await documents.take(TRIGGERS, range, limitOf(request)));
}

/** Delete a schedule's oldest triggers, a batch at a time. */
async function deleteScheduleTriggers(
  documents: WritableDocuments,
  request: Request,
): Promise<Reply> {
  const rows = await documents.take(TRIGGERS, triggersOf(request), DELETE_BATCH_ROWS + 1);
  for (const row of rows.slice(0, DELETE_BATCH_ROWS)) await documents.delete(TRIGGERS, row);
  return { ok: true, hasMore: rows.length > DELETE_BATCH_ROWS };
}

/** The operations, by name. */
export const SCHEDULE_OPERATIONS: Readonly<Record<string, TableOperation>> = {
  createSchedule: { table: SCHEDULES, run: createSchedule, hard: true },
  listDueSchedules: { table: SCHEDULES, run: listDueSchedules, hard: true },
  updateScheduleNextFire: { table: SCHEDULES, run: updateScheduleNextFire, hard: true },
  updateSchedule: { table: SCHEDULES, run: updateSchedule, hard: true },
  recordScheduleTrigger: { table: TRIGGERS, run: recordScheduleTrigger, hard: true },
  listScheduleTriggers: { table: TRIGGERS, run: listScheduleTriggers, hard: true },
  deleteScheduleTriggers: { table: TRIGGERS, run: deleteScheduleTriggers, hard: true },
};

async function insertNew(
  documents: WritableDocuments,
  table: typeof SCHEDULES | typeof TRIGGERS,
  request: Request,
  what: string,
): Promise<Reply> {
  const record = recordArgument(request, "record");
  if (!record["id"]) throw invalidArgument(`${what} is missing an id`);
  if ((await documents.first(table, byRecordId(record["id"]))) !== null) {
    throw conflict(`${what} with id "${asKey(record["id"])}" already exists`);
  }
  await documents.insert(table, record);
  return { ok: true };
}

function triggersOf({ scheduleId }: Request) {
  return { index: "by_schedule_actual", equals: [(scheduleId ?? null) as Value] };
}

function limitOf({ limit }: Request): number {
  return isFiniteNumber(limit) ? Math.max(0, Math.floor(limit)) : DUE_SCHEDULES_DEFAULT;
}

function numberArgument(request: Request, name: string): number {
  const value = request[name];
  if (typeof value !== "number") {
    throw invalidArgument(`${name} must be a number of milliseconds since the epoch`);
  }
  return value;
}

function optionalNumberArgument(request: Request, name: string): number | undefined {
  return request[name] === undefined || request[name] === null
    ? undefined
    : numberArgument(request, name);
}
