/**
 * `mastra/storage:handle`: every storage operation of the wire protocol.
 *
 * A request is `{op, tableName, …}`. The logical table decides the route: a typed table, the rows
 * of one vector index, or generic documents; each route has its own operations.
 *
 * On the routes of vectors and of background tasks a refusal is answered softly
 * (`{ok: false, error}`), elsewhere the call fails. Either way nothing of it is kept.
 */
import type { Infer } from "convex/values";
import { internal } from "../_generated/api";
import { internalMutation, type MutationCtx } from "../_generated/server";
import { isRefusal } from "../lib/errors";
import { memoryTables, type MemoryTable } from "../lib/tables";
import { wireReply, wireRequest } from "../lib/validators";
import { type FollowedDocuments, following } from "../memory/lib/followed";
import { BackgroundTaskRoute } from "./backgroundTasks";
import { MEMORY_OPERATIONS } from "./memoryOperations";
import { OBSERVATION_OPERATIONS } from "./observations";
import { SoftRefusal, type Request } from "./requests";
import { GenericRoute, TypedRoute, type Route, type TableOperation } from "./routes";
import { SCHEDULE_OPERATIONS } from "./schedules";
import { VectorRoute } from "./vectorRoute";
import { WORKFLOW_OPERATIONS } from "./workflows";

type Answer = Infer<typeof wireReply>;

const VECTOR_PREFIX = "mastra_vector_";
const BACKGROUND_TASKS = "mastra_background_tasks";

/** Logical tables whose rows lie under another name than their own. */
const RENAMED_TABLES: ReadonlyMap<string, MemoryTable> = new Map([
  ["mastra_workflow_snapshot", "mastra_workflow_snapshots"],
]);
/** Names of tables that are not logical tables: as such they are generic documents. */
const PHYSICAL_ONLY = new Set<string>([
  "mastra_workflow_snapshots",
  "mastra_vectors",
  "mastra_documents",
  "mastra_cache",
  "mastra_cache_list_items",
]);

/** Operations that only one table has, by name. */
const TABLE_OPERATIONS: ReadonlyMap<unknown, TableOperation> = new Map(
  Object.entries({
    ...MEMORY_OPERATIONS,
    ...OBSERVATION_OPERATIONS,
    ...WORKFLOW_OPERATIONS,
    ...SCHEDULE_OPERATIONS,
  }),
);

/** Operations of every table that only read. */
const READS = new Set<unknown>(["load", "loadMany", "queryTable"]);

/** Run one storage request. */
export const handle = internalMutation({
  args: wireRequest,
  returns: wireReply,
  handler: async (ctx, request: Request): Promise<Answer> => {
    if (!isSoft(request)) return await run(ctx, request);
    try {
      if (READS.has(request["op"])) return await run(ctx, request);
      // Answering softly commits. The attempt is a transaction of its own within this one, so what
      // it wrote before it was refused is undone.
      return await ctx.runMutation(internal.mastra.storage.attempt, request);
    } catch (error) {
      if (isRefusal(error)) return { ok: false, error: error.data.message };
      throw error;
    }
  },
});

/** Run one storage request, and fail with every refusal. Only `handle` calls this. */
export const attempt = internalMutation({
  args: wireRequest,
  returns: wireReply,
  handler: async (ctx, request: Request): Promise<Answer> => await run(ctx, request),
});

async function run(ctx: MutationCtx, request: Request): Promise<Answer> {
  const { tableName: name } = request;
  if (typeof name !== "string") {
    return { ok: false, error: "Cannot read properties of undefined (reading 'startsWith')" };
  }
  try {
    return await following(ctx, (documents) => routeOf(documents, name).run(request));
  } catch (error) {
    // An operation that answers softly does so before it writes anything.
    if (error instanceof SoftRefusal) return { ok: false, error: error.message };
    throw error;
  }
}

function routeOf(documents: FollowedDocuments, name: string): Route<MemoryTable> {
  if (name === BACKGROUND_TASKS) {
    return new BackgroundTaskRoute(documents, name, TABLE_OPERATIONS);
  }
  const table = typedTable(name);
  if (table !== undefined) return new TypedRoute(documents, table, name, TABLE_OPERATIONS);
  return name.startsWith(VECTOR_PREFIX)
    ? new VectorRoute(documents, name.slice(VECTOR_PREFIX.length))
    : new GenericRoute(documents, name);
}

function typedTable(name: string): MemoryTable | undefined {
  const renamed = RENAMED_TABLES.get(name);
  if (renamed !== undefined) return renamed;
  const isLogical =
    name.startsWith("mastra_") && Object.hasOwn(memoryTables, name) && !PHYSICAL_ONLY.has(name);
  return isLogical ? (name as MemoryTable) : undefined;
}

function isSoft({ tableName: name }: Request): boolean {
  if (typeof name !== "string") return true;
  return (
    name === BACKGROUND_TASKS ||
    (name.startsWith(VECTOR_PREFIX) && typedTable(name) === undefined)
  );
}
