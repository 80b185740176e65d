/** Where a storage request goes: a typed table, one vector index, or generic documents. */
import type { Doc } from "../_generated/dataModel";
import type { Value } from "convex/values";
import { byRecordId, type Range, type WritableDocuments } from "../lib/documents";
import { invalidArgument, limitExceeded } from "../lib/errors";
import { readEach } from "../lib/groups";
import { DELETE_BATCH_ROWS, LOAD_MANY_IDS_MAX, QUERY_ROWS_MAX } from "../lib/limits";
import { indexesOf } from "../lib/rowCheck";
import type { MemoryTable } from "../lib/tables";
import { isObject, type UncheckedObject } from "../lib/values";
import type { FollowedDocuments } from "../memory/lib/followed";
import { dropAll, takeAway } from "../memory/lib/trash";
import {
  asKey,
  filtersArgument,
  idsArgument,
  limitArgument,
  matches,
  recordArgument,
  rowsReply,
  rowsToRead,
  SoftRefusal,
  type Equality,
  type Reply,
  type Request,
} from "./requests";

/** A storage operation that only one table has. */
export interface TableOperation {
  readonly table: MemoryTable;
  /** What it does and answers. */
  readonly run: (documents: WritableDocuments, request: Request) => Promise<Reply>;
  /**
   * Whether another typed table refuses it with an error (`… is only supported for …`) instead of
   * softly (`Unsupported operation …`).
   */
  readonly hard?: boolean;
}

type Operation = (route: Route<MemoryTable>, request: Request) => Promise<Reply>;

const OPERATIONS: ReadonlyMap<unknown, Operation> = new Map<unknown, Operation>([
  ["insert", (route, request) => route.insert(request)],
  ["batchInsert", (route, request) => route.batchInsert(request)],
  ["patch", (route, request) => route.patch(request)],
  ["load", (route, request) => route.load(request)],
  ["loadMany", (route, request) => route.loadMany(request)],
  ["queryTable", (route, request) => route.queryTable(request)],
  ["deleteMany", (route, request) => route.deleteMany(request)],
  ["clearTable", (route) => route.clear()],
  ["dropTable", (route) => route.clear()],
]);

/**
 * The operations that every logical table has.
 *
 * The routes differ in how a record becomes a row (`put`, `change`), how a row is found (`find`)
 * and shown (`show`); the operations over them are the same.
 */
export abstract class Route<Table extends MemoryTable> {
  /** The rows of this logical table, in creation order. */
  protected abstract readonly all: Range;
  /** What is said of a record without an id. */
  protected abstract readonly missingId: string;

  constructor(
    protected readonly documents: WritableDocuments,
    readonly table: Table,
  ) {}

  /** Answer one request, softly refusing an operation this route does not have. */
  async run(request: Request): Promise<Reply> {
    const operation = OPERATIONS.get(request["op"]);
    return await (operation === undefined ? this.runSpecial(request) : operation(this, request));
  }

  /** Answer an operation that only some tables have. */
  protected async runSpecial(request: Request): Promise<Reply> {
    throw new SoftRefusal(`Unsupported operation ${String(request["op"])}`);
  }

  // --- What differs

  /** The row with this record id, or null. */
  abstract find(id: unknown): Promise<Doc<Table> | null>;
  /** Overwrite the row with the record's id, or insert the record when there is none. */
  protected abstract put(record: UncheckedObject, found: Doc<Table> | null): Promise<void>;
  /** Patch a row. */
  protected abstract change(row: Doc<Table>, record: UncheckedObject): Promise<void>;
  /** What a reader of this route gets for a row. */
  abstract show(row: Doc<Table>): UncheckedObject;

  /** What two records of one batch with the same id amount to. */
  protected coalesce(_earlier: UncheckedObject, later: UncheckedObject): UncheckedObject {
    return later;
  }

  /** The oldest rows. */
  async rows(limit: number): Promise<Doc<Table>[]> {
    const rows: Doc<Table>[] = [];
    if (limit <= 0) return rows;
    for await (const row of this.documents.scan(this.table, this.all)) {
      if (!(await this.isHidden(row))) rows.push(row);
      if (rows.length >= limit) break;
    }
    return rows;
  }

  /** Whether a row is as if it were not there. */
  protected async isHidden(_row: Doc<Table>): Promise<boolean> {
    return false;
  }

  // --- Operations

  /** Upsert one record by its id. */
  async insert(request: Request): Promise<Reply> {
    const record = recordArgument(request, "record");
    if (!record["id"]) throw invalidArgument(this.missingId);
    await this.put(record, await this.find(record["id"]));
    return { ok: true };
  }

  /** Upsert many records; those without an id are left out. */
  async batchInsert(request: Request): Promise<Reply> {
    const { records } = request;
    if (!Array.isArray(records)) throw invalidArgument("records must be an array of objects.");
    const merged = new Map<string, UncheckedObject>();
    for (const [position, record] of records.entries()) {
      if (!isObject(record)) throw invalidArgument(`records[${position}] must be an object.`);
      if (!record["id"]) continue;
      const key = asKey(record["id"]);
      const earlier = merged.get(key);
      merged.set(key, earlier === undefined ? record : this.coalesce(earlier, record));
    }
    const writes = await readEach(merged.values(), async (record) => ({
      record,
      found: await this.find(record["id"]),
    }));
    for (const { record, found } of writes) await this.put(record, found);
    return { ok: true };
  }

  /** Change fields of one row; say whether there was one. */
  async patch(request: Request): Promise<Reply> {
    const { id: _id, ...changes } = recordArgument(request, "record");
    const row = await this.find(request["id"]);
    if (row === null) return { ok: true, result: false };
    await this.change(row, changes);
    return { ok: true, result: true };
  }

  /** Return one row by its keys, or null. */
  async load(request: Request): Promise<Reply> {
    const keys = recordArgument(request, "keys");
    const row = keys["id"] ? await this.find(keys["id"]) : await this.findByKeys(keys);
    return { ok: true, result: row === null ? null : this.show(row) };
  }

  /** The oldest row whose shown fields all equal `keys`, or null. */
  protected async findByKeys(keys: UncheckedObject): Promise<Doc<Table> | null> {
    const wanted = Object.entries(keys).map(([field, value]) => ({ field, value }));
    let read = 0;
    for await (const row of this.documents.scan(this.table, this.all)) {
      if (matches(this.show(row), wanted) && !(await this.isHidden(row))) return row;
      read += 1;
      if (read >= QUERY_ROWS_MAX) break;
    }
    return null;
  }

  /** Return the rows with these ids, in the order asked for. */
  async loadMany(request: Request): Promise<Reply> {
    const found = await readEach(fewIds(request), (id) => this.find(id));
    const rows = found.filter((row) => row !== null);
    return { ok: true, result: rows.map((row) => this.show(row)) };
  }

  /** Take the first rows, then filter them, then cut to the limit. */
  async queryTable(request: Request): Promise<Reply> {
    const limit = limitArgument(request);
    const filters = filtersArgument(request);
    const rows = await this.rows(rowsToRead(limit));
    const kept = rows.map((row) => this.show(row)).filter((record) => matches(record, filters));
    return rowsReply(kept.slice(0, limit));
  }

  /** Delete the rows with these ids; absent ones are left alone. */
  async deleteMany(request: Request): Promise<Reply> {
    const found = await readEach(new Set(idsArgument(request)), (id) => this.find(id));
    // Ids that differ can name one row: 1 and "1" do among generic documents.
    const rows = new Map(found.filter((row) => row !== null).map((row) => [row._id, row]));
    for (const row of rows.values()) await this.documents.delete(this.table, row);
    return { ok: true };
  }

  /** Delete the oldest rows, a batch at a time. */
  async clear(): Promise<Reply> {
    const rows = await this.rows(DELETE_BATCH_ROWS + 1);
    for (const row of rows.slice(0, DELETE_BATCH_ROWS)) {
      await this.documents.delete(this.table, row);
    }
    return { ok: true, hasMore: rows.length > DELETE_BATCH_ROWS };
  }
}

/**
 * The ids of a `loadMany` request, each once.
 *
 * @throws `limit_exceeded` when there are more than it takes.
 */
export function fewIds(request: Request): Set<unknown> {
  const ids = idsArgument(request);
  if (ids.length > LOAD_MANY_IDS_MAX) {
    throw limitExceeded(`loadMany supports at most ${LOAD_MANY_IDS_MAX} ids per request`);
  }
  return new Set(ids);
}

/** A table with declared fields; `operations` are those that only some tables have. */
export class TypedRoute<Table extends MemoryTable> extends Route<Table> {
  protected readonly all: Range = {};
  protected readonly missingId = "Record is missing an id";
  /** Rows that were looked for and are as if they were not there, by their ids. */
  private readonly hidden = new Map<unknown, Doc<Table>>();

  constructor(
    protected readonly followed: FollowedDocuments,
    table: Table,
    private readonly name: string,
    private readonly operations: ReadonlyMap<unknown, TableOperation>,
  ) {
    super(followed, table);
  }

  protected override async runSpecial(request: Request): Promise<Reply> {
    const operation = this.operations.get(request["op"]);
    if (operation === undefined) return await super.runSpecial(request);
    if (this.table === operation.table) return await operation.run(this.documents, request);
    const op = String(request["op"]);
    if (operation.hard) throw invalidArgument(`${op} is only supported for ${operation.table}`);
    throw new SoftRefusal(`Unsupported operation ${op} for table ${this.name}`);
  }

  async find(id: unknown): Promise<Doc<Table> | null> {
    const row = await this.documents.first(this.table, byRecordId(id));
    if (row === null || !(await this.isHidden(row))) return row;
    this.hidden.set(id, row);
    return null;
  }

  /** Whether it is a message whose thread is gone, and which only waits to be removed. */
  protected override async isHidden(row: Doc<Table>): Promise<boolean> {
    return await this.followed.isGone(this.table, row);
  }

  /** Delete the oldest rows, a batch at a time, and what is kept of deleted ones. */
  override async clear(): Promise<Reply> {
    const { table } = this;
    const isKept = table === "mastra_messages" || table === "mastra_threads";
    const moreKept = isKept && (await dropAll(this.followed, table));
    const reply = await super.clear();
    return moreKept ? { ...reply, hasMore: true } : reply;
  }

  protected async put(record: UncheckedObject, found: Doc<Table> | null): Promise<void> {
    const hidden = found === null ? this.hidden.get(record["id"]) : undefined;
    if (hidden !== undefined && this.table === "mastra_messages") {
      await takeAway(this.followed, hidden as unknown as Doc<"mastra_messages">);
    }
    await this.documents.upsert(this.table, record, found);
  }

  protected async change(row: Doc<Table>, record: UncheckedObject): Promise<void> {
    await this.documents.patch(this.table, row, record);
  }

  show(row: Doc<Table>): UncheckedObject {
    return row;
  }

  protected override coalesce(earlier: UncheckedObject, later: UncheckedObject): UncheckedObject {
    return { ...earlier, ...later };
  }

  protected override async findByKeys(keys: UncheckedObject): Promise<Doc<Table> | null> {
    const { workflow_name: workflow, run_id: run } = keys;
    if (
      this.table === "mastra_workflow_snapshots" &&
      typeof workflow === "string" &&
      typeof run === "string"
    ) {
      const range = { index: "by_workflow_run", equals: [workflow, run] };
      return await this.documents.first(this.table, range);
    }
    return await super.findByKeys(keys);
  }

  override async queryTable(request: Request): Promise<Reply> {
    return rowsReply(await this.matchingRows(request));
  }

  /** What `queryTable` answers with: read through the index that the filters cover best. */
  protected async matchingRows(request: Request): Promise<UncheckedObject[]> {
    const most = Math.min(limitArgument(request) ?? QUERY_ROWS_MAX, QUERY_ROWS_MAX);
    const filters = filtersArgument(request);
    const { indexHint: hint } = request;
    const { range, rest } =
      hint === undefined || hint === null
        ? this.coveringRange(filters)
        : { range: this.hintedRange(hint), rest: filters };
    const found: UncheckedObject[] = [];
    if (most === 0) return found;
    for await (const row of this.documents.scan(this.table, range)) {
      if (!matches(row, rest) || (await this.isHidden(row))) continue;
      found.push(row);
      if (found.length >= most) break;
    }
    return found;
  }

  /** The index whose leading fields the filters cover best, and the filters it leaves. */
  private coveringRange(filters: readonly Equality[]): { range: Range; rest: Equality[] } {
    const values = new Map(filters.map(({ field, value }) => [field, value]));
    let best: { index?: string; covered: readonly string[] } = { covered: [] };
    for (const [index, fields] of indexesOf(this.table)) {
      const gap = fields.findIndex((field) => !values.has(field));
      const covered = gap < 0 ? fields : fields.slice(0, gap);
      if (covered.length > best.covered.length) best = { index, covered };
    }
    const { index, covered } = best;
    const rest = filters.filter(({ field }) => !covered.includes(field));
    if (index === undefined) return { range: this.all, rest };
    return { range: { index, equals: covered.map((field) => values.get(field) as Value) }, rest };
  }

  private hintedRange(hint: unknown): Range {
    if (!isObject(hint)) throw invalidArgument("indexHint must be an object.");
    const { index, workflowName, runId } = hint;
    if (index !== "by_workflow" && index !== "by_workflow_run") return this.all;
    if (this.table !== "mastra_workflow_snapshots") {
      throw invalidArgument(`${this.name} has no index ${index}.`);
    }
    const equals = index === "by_workflow" ? [workflowName] : [workflowName, runId];
    return { index, equals: equals.map((value) => (value ?? null) as Value) };
  }
}

/** A table nobody declared: whole records in `mastra_documents`. */
export class GenericRoute extends Route<"mastra_documents"> {
  protected readonly all: Range;
  protected readonly missingId: string;

  constructor(
    documents: WritableDocuments,
    private readonly name: string,
  ) {
    super(documents, "mastra_documents");
    this.all = { index: "by_table", equals: [name] };
    this.missingId = `Record for table ${name} is missing an id`;
  }

  async find(id: unknown): Promise<Doc<"mastra_documents"> | null> {
    const range = { index: "by_table_primary", equals: [this.name, asKey(id)] };
    return await this.documents.first(this.table, range);
  }

  protected async put(
    record: UncheckedObject,
    found: Doc<"mastra_documents"> | null,
  ): Promise<void> {
    const row = { table: this.name, primaryKey: asKey(record["id"]), record };
    await this.documents.upsert(this.table, row, found);
  }

  protected async change(row: Doc<"mastra_documents">, record: UncheckedObject): Promise<void> {
    const merged = { ...this.show(row), ...record };
    await this.documents.patch(this.table, row, { record: merged });
  }

  show(row: Doc<"mastra_documents">): UncheckedObject {
    return row.record as UncheckedObject;
  }
}

