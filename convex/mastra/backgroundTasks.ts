/**
 * Background tasks, with those that old versions kept among the generic documents.
 *
 * A task of an old version is a document of `mastra_documents` under this table's name, its fields
 * in camelCase. Reads find it after the rows of the table, where a row with its id hides it.
 * Changing a row removes the old copy; changing an old copy changes it where it is.
 */
import type { Doc } from "../_generated/dataModel";
import { readEach } from "../lib/groups";
import { DELETE_BATCH_ROWS, QUERY_ROWS_MAX } from "../lib/limits";
import type { UncheckedObject } from "../lib/values";
import type { FollowedDocuments } from "../memory/lib/followed";
import {
  filtersArgument,
  limitArgument,
  recordArgument,
  rowsReply,
  type Equality,
  type Reply,
  type Request,
} from "./requests";
import { fewIds, GenericRoute, TypedRoute, type TableOperation } from "./routes";

const TABLE = "mastra_background_tasks";

const RENAMED: readonly (readonly [string, string])[] = [
  ["tool_call_id", "toolCallId"],
  ["tool_name", "toolName"],
  ["agent_id", "agentId"],
  ["run_id", "runId"],
  ["thread_id", "threadId"],
  ["resource_id", "resourceId"],
  ["suspend_payload", "suspendPayload"],
  ["retry_count", "retryCount"],
  ["max_retries", "maxRetries"],
  ["timeout_ms", "timeoutMs"],
];

/** Field → its other spelling, in both directions. */
const ALIASES: ReadonlyMap<string, string> = new Map(
  RENAMED.flatMap(([field, old]) => [
    [field, old],
    [old, field],
  ]),
);

/** The table of background tasks and, behind it, the documents of old versions. */
export class BackgroundTaskRoute extends TypedRoute<typeof TABLE> {
  private readonly legacy: GenericRoute;

  constructor(
    documents: FollowedDocuments,
    name: string,
    operations: ReadonlyMap<unknown, TableOperation>,
  ) {
    super(documents, TABLE, name, operations);
    this.legacy = new GenericRoute(documents, name);
  }

  /** Return one task by its keys, or null; old copies are found by id only. */
  override async load(request: Request): Promise<Reply> {
    const keys = recordArgument(request, "keys");
    if (!keys["id"]) return await super.load(request);
    return { ok: true, result: await this.task(keys["id"]) };
  }

  /** Return the tasks with these ids, in the order asked for. */
  override async loadMany(request: Request): Promise<Reply> {
    const found = await readEach(fewIds(request), (id) => this.task(id));
    return { ok: true, result: found.filter((task) => task !== null) };
  }

  /** Read the rows of the table, then the old copies that no row hides. */
  override async queryTable(request: Request): Promise<Reply> {
    const limit = limitArgument(request);
    const filters = filtersArgument(request);
    const tasks = await this.matchingRows(request);
    for (const row of await this.legacy.rows(QUERY_ROWS_MAX)) {
      if (limit !== undefined && tasks.length >= limit) break;
      const record = this.legacy.show(row);
      if (!matchesEitherSpelling(record, filters)) continue;
      if ((await this.find(record["id"])) === null) tasks.push(record);
    }
    return rowsReply(tasks);
  }

  /** Change fields of one task, wherever it is; say whether there was one. */
  override async patch(request: Request): Promise<Reply> {
    const { id: _id, ...changes } = recordArgument(request, "record");
    const { id } = request;
    const row = await this.find(id);
    const old = await this.legacy.find(id);
    if (row !== null) {
      await this.change(row, changes);
      if (old !== null) await this.documents.delete("mastra_documents", old);
    } else if (old !== null) {
      await this.changeLegacy(old, changes);
    }
    return { ok: true, result: row !== null || old !== null };
  }

  /** Delete the tasks with these ids, both copies of each. */
  override async deleteMany(request: Request): Promise<Reply> {
    await super.deleteMany(request);
    return await this.legacy.deleteMany(request);
  }

  /** Delete the oldest rows, then the oldest old copies, a batch at a time. */
  override async clear(): Promise<Reply> {
    const most = DELETE_BATCH_ROWS + 1;
    const rows = await this.rows(most);
    const old = await this.legacy.rows(most - rows.length);
    const removed = rows.slice(0, DELETE_BATCH_ROWS);
    for (const row of removed) await this.documents.delete(TABLE, row);
    for (const row of old.slice(0, DELETE_BATCH_ROWS - removed.length)) {
      await this.documents.delete("mastra_documents", row);
    }
    return { ok: true, hasMore: rows.length + old.length > DELETE_BATCH_ROWS };
  }

  private async task(id: unknown): Promise<UncheckedObject | null> {
    const row = await this.find(id);
    if (row !== null) return this.show(row);
    const old = await this.legacy.find(id);
    return old === null ? null : this.legacy.show(old);
  }

  private async changeLegacy(
    row: Doc<"mastra_documents">,
    changes: UncheckedObject,
  ): Promise<void> {
    const aliases = new Set(Object.keys(changes).map((name) => ALIASES.get(name)));
    const kept = Object.entries(this.legacy.show(row)).filter(([name]) => !aliases.has(name));
    const record = { ...Object.fromEntries(kept), ...changes };
    await this.documents.patch("mastra_documents", row, { record });
  }
}

function matchesEitherSpelling(record: UncheckedObject, filters: readonly Equality[]): boolean {
  return filters.every(
    ({ field, value }) =>
      record[field] === value || record[ALIASES.get(field) ?? field] === value,
  );
}
